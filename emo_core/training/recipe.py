"""What emo-mini is trained on: which heads speak which sentences, and how they move. Seeded; splits never mix.

Training identities are seeds from 0, test identities from TEST_IDENTITIES on. Test clips speak sentences that were
never trained on, half of them in a voice that was never trained on, half still and half moving. Puppets are people of
photographs, split by person; theirs are the same voices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .heads.job import HeadJob
from .heads.performance import Style
from .voices.corpus import Split, VoiceCorpus

TEST_IDENTITIES = 1_000_000
_TURNING_TESTED = 20  # one in so many clips of heads in any pose is kept for testing


@dataclass(frozen=True)
class HeadsRecipe:
    """How many clips of how many frames; one identity each."""

    clips: int = 1100
    frames: int = 44
    test_clips: int = 40
    test_frames: int = 75
    still_share: float = 0.35
    turning_clips: int = 0  # one identity each, every frame in another pose: what the posed portrait learns from
    turning_frames: int = 24
    rest_deg: tuple[float, float, float] = (2.0, 3.5, 1.5)  # spread of how training heads are held: pitch, yaw, roll
    singing_share: float = 0.15
    seed: int = 0


def head_jobs(corpus: VoiceCorpus, recipe: HeadsRecipe) -> list[HeadJob]:
    """Arguments of heads.dataset.render_dataset for every clip."""
    rng = np.random.default_rng((recipe.seed, 17))
    jobs: list[HeadJob] = []
    for identity in range(recipe.clips):
        style: Style = "still" if rng.random() < recipe.still_share else "talking"
        if style == "talking" and rng.random() < recipe.singing_share / (1 - recipe.still_share):
            style = "singing"
        job = _job(rng, corpus, "train", identity=identity, style=style, frames=recipe.frames)
        pitch, yaw, roll = np.clip(rng.standard_normal(3), -2, 2) * recipe.rest_deg
        jobs.append(replace(job, rest_deg=(float(pitch), float(yaw), float(roll))))
    for index in range(recipe.turning_clips):
        identity = recipe.clips + index
        job = _job(rng, corpus, "train", identity=identity, style="turning", frames=recipe.turning_frames)
        if index < recipe.turning_clips // _TURNING_TESTED:
            job = replace(job, split="test", identity=TEST_IDENTITIES + recipe.test_clips + index)
        jobs.append(_one_expression(job, int(rng.integers(recipe.turning_frames))))
    for index in range(recipe.test_clips):
        voices: Split = "test_sentences" if index % 2 == 0 else "test_voice"
        style = "still" if index % 4 < 2 else "talking"
        identity = TEST_IDENTITIES + index
        jobs.append(_job(rng, corpus, voices, identity=identity, style=style, frames=recipe.test_frames))
    return jobs


def _job(
    rng: np.random.Generator, corpus: VoiceCorpus, voices: Split, *, identity: int, style: Style, frames: int
) -> HeadJob:
    pool = corpus.utterances(voices)
    frames = min(frames, max(len(u.loudness) for u in pool))
    long_enough = [index for index, u in enumerate(pool) if len(u.loudness) >= frames]
    index = int(rng.choice(long_enough))
    start = int(rng.integers(len(pool[index].loudness) - frames + 1))
    window = slice(start, start + frames)
    speed = {"still": None, "talking": rng.uniform(0.05, 1.2), "singing": rng.uniform(0.8, 2.0), "turning": None}[style]
    return HeadJob(
        identity=identity,
        style=style,
        speed=None if speed is None else float(speed),
        mouth={name: track[window] for name, track in pool[index].mouth.items()},
        loudness=pool[index].loudness[window],
        utterance=f"{utterance_id(voices, index)}@{start}",
        split="train" if voices == "train" else "test",
        seed=identity,
    )


def _one_expression(job: HeadJob, frame: int) -> HeadJob:
    """The job with the mouth held as in one of its frames, so that only the head turns."""
    mouth = {name: np.full_like(track, track[frame]) for name, track in (job.mouth or {}).items()}
    return replace(job, mouth=mouth, loudness=np.full_like(job.loudness, job.loudness[frame]))


def utterance_id(split: str, index: int) -> str:
    """How a clip names its utterance; "@frame" follows where the clip starts inside it."""
    return f"{split}/{index}"


@dataclass(frozen=True)
class PuppetsRecipe:
    """How many clips of how many frames; every person several times."""

    takes: int = 3  # of each person, in training
    frames: int = 44
    test_takes: int = 1
    test_frames: int = 75
    still_share: float = 0.2
    singing_share: float = 0.12
    silent_share: float = 0.08  # of clips may say nothing
    seed: int = 0


_SAYS_SOMETHING = 0.06  # deviation of jawOpen over a clip
_ATTEMPTS = 6  # at finding one


def puppet_jobs(
    corpus: VoiceCorpus, people: Sequence[int], tested: Callable[[int], bool], recipe: PuppetsRecipe
) -> list[HeadJob]:
    """Jobs of all `people` (their numbers); first takes first, so that what is made early shows everybody. Those
    `tested` speak as test heads do."""
    rng = np.random.default_rng((recipe.seed, 23))
    jobs: list[HeadJob] = []
    for take in range(max(recipe.takes, recipe.test_takes)):
        for number, person in enumerate(people):
            test = tested(person)
            if take >= (recipe.test_takes if test else recipe.takes):
                continue
            voices: Split = "train" if not test else "test_sentences" if number % 2 == 0 else "test_voice"
            style: Style = "still" if rng.random() < recipe.still_share else "talking"
            if not test and rng.random() < recipe.singing_share:
                style = "singing"
            frames = recipe.test_frames if test else recipe.frames
            for _ in range(_ATTEMPTS):
                job = _job(rng, corpus, voices, identity=person, style=style, frames=frames)
                if _says_something(job) or rng.random() < recipe.silent_share:
                    break
            jobs.append(replace(job, seed=take))
    return jobs


def _says_something(job: HeadJob) -> bool:
    return float(np.std((job.mouth or {}).get("jawOpen", np.zeros(1)))) > _SAYS_SOMETHING
