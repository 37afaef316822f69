"""Test clips, whoever plays in them: in, a cast and a corpus of voices; out, a `TruthSet`.

Who speaks what, still or moving, follows from the seed and is the same for every cast: the four kinds (sentences or
voice, still or moving) take turns.
"""

from __future__ import annotations

import logging
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import EmoInputError
from ..training.clips import Clip
from ..training.heads.job import HeadJob
from ..training.voices.corpus import VoiceCorpus, VoiceRecord
from .truth import FPS, SAMPLE_RATE, Case, TruthSet, TruthSpec, Voices

log = logging.getLogger(__name__)

_ATTEMPTS = 4  # at a clip that can be trusted


class Cast(Protocol):
    """People who perform. A job's `identity` is their number, from 0 to `people` - 1; its `seed` another attempt's."""

    people: int

    def perform(self, job: HeadJob) -> Clip: ...

    def trusted(self, clip: Clip) -> bool:
        """Whether the clip shows what its truth says."""
        ...


def draw_set(cast: Cast, corpus: VoiceCorpus, spec: TruthSpec) -> TruthSet:
    """The test set of this spec. A person of whom no clip can be trusted plays in none, but is still somebody else.
    Raises EmoInputError where nobody is left, and for clips longer than any utterance."""
    people = min(spec.people, cast.people)
    cases: list[Case] = []
    others: list[NDArray[np.uint8]] = []
    for person in range(people):
        rest = _at_rest(cast, person)
        case = _case(cast, corpus, spec, rest, person=person, number=len(cases)) if len(cases) < spec.cases else None
        if case is not None:
            cases.append(case)
        else:
            others.append(_portrait(rest))
    if not cases:
        raise EmoInputError(spec.kind, f"no clip of {people} people that can be trusted", "at least one")
    nobody = np.zeros((0, spec.size, spec.size, 3), np.uint8)
    return TruthSet(spec, tuple(cases), np.stack(others) if others else nobody, _long_sound(corpus, spec))


def _case(
    cast: Cast, corpus: VoiceCorpus, spec: TruthSpec, rest: Clip, *, person: int, number: int
) -> Case | None:  # fmt: skip
    rng = np.random.default_rng((spec.seed, 91, person))
    voices: Voices = "sentences" if number % 2 == 0 else "voice"
    moving = number % 4 >= 2
    for attempt in range(_ATTEMPTS):
        record, start = _utterance(
            rng, corpus.utterances("test_sentences" if number % 2 == 0 else "test_voice"), spec.frames
        )
        clip = cast.perform(_job(rng, record, start, spec.frames, person=person, attempt=attempt, moving=moving))
        if cast.trusted(clip):
            break
    else:
        log.warning("person %d of the %s: no clip of %d can be trusted: left", person, spec.kind, _ATTEMPTS)
        return None
    per_frame = int(SAMPLE_RATE / FPS)
    return Case(
        name=f"{number:03d}-{voices}-{'moving' if moving else 'still'}",
        voices=voices,
        moving=moving,
        frames=clip.frames,
        face_box=clip.face_box,
        mouth_box=clip.mouth_box,
        eye_box=clip.eye_box,
        mouth_open=clip.mouth_open,
        jaw=clip.jaw,
        speed_deg=clip.speed_deg,
        samples=record.samples[start * per_frame : (start + spec.frames) * per_frame],
        portrait=_portrait(rest),
        portrait_box=rest.face_box[0],
    )


def _job(
    rng: np.random.Generator, record: VoiceRecord, start: int, frames: int, *, person: int, attempt: int, moving: bool
) -> HeadJob:
    window = slice(start, start + frames)
    return HeadJob(
        identity=person,
        style="talking" if moving else "still",
        speed=float(rng.uniform(0.1, 1.0)) if moving else None,
        mouth={name: track[window] for name, track in record.mouth.items()},
        loudness=record.loudness[window],
        utterance=f"{record.voice}@{start}",
        split="test",
        seed=attempt,
    )


def _at_rest(cast: Cast, person: int) -> Clip:
    """The person at rest: mouth shut, no movement; its first frame comes before any blink."""
    silence = np.zeros(2, np.float32)
    return cast.perform(HeadJob(person, "still", 0.0, mouth=None, loudness=silence, utterance="", split="test"))


def _portrait(rest: Clip) -> NDArray[np.uint8]:
    """The untouched photograph where there is one."""
    return rest.frames[0] if rest.reference is None else rest.reference


def _utterance(rng: np.random.Generator, pool: list[VoiceRecord], frames: int) -> tuple[VoiceRecord, int]:
    """A random utterance of at least `frames` frames, and the frame where the clip starts."""
    fitting = [record for record in pool if min(len(record.loudness), int(record.duration_s * FPS)) >= frames]
    if not fitting:
        raise EmoInputError("frames", f"{frames}", f"no more than the longest test sentence of {len(pool)}")
    record = fitting[int(rng.integers(len(fitting)))]
    return record, int(rng.integers(min(len(record.loudness), int(record.duration_s * FPS)) - frames + 1))


def _long_sound(corpus: VoiceCorpus, spec: TruthSpec) -> NDArray[np.float32]:
    """Test sentences one after the other, `long_frames` frames long."""
    rng, wanted = np.random.default_rng((spec.seed, 92)), round(spec.long_frames / FPS * SAMPLE_RATE)
    pool, parts, total = corpus.utterances("test_sentences"), [], 0
    while total < wanted:
        parts.append(pool[int(rng.integers(len(pool)))].samples)
        total += len(parts[-1])
    return np.concatenate(parts)[:wanted]
