"""A corpus of voices on disk: made once, in parallel, from a seed; read by the encoder's and the heads' training.

`build_corpus` writes shards `<split>-<number>.npz` (int16 samples at 16 kHz, mouth tracks and loudness at 25 fps,
phones as JSON). A shard's content follows from the seed and its number alone, and a finished shard is not made again,
so a killed run continues. `VoiceCorpus` reads. Splits: `train`; `test_sentences` (voices of the training, sentences
it never has); `test_voice` (the held-out voice awb, such sentences too); `test_song`; `real` (LibriVox, aligned).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import EmoInputError
from . import alignment, song, speech
from .phones import Phone
from .sentences import sentence
from .speech import SAMPLE_RATE, Manner, Utterance
from .visemes import MOUTH_ACTIONS, loudness_track, mouth_track

Split = Literal["train", "test_sentences", "test_voice", "test_song", "real"]
FPS = 25.0
_SHARD_MINUTES = 4.0
_TEST_MINUTES = {"test_sentences": 4.0, "test_voice": 4.0, "test_song": 1.0}
_FORMAT = 1  # raise when what a shard holds changes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VoiceRecord:
    """One utterance of the corpus. `samples16` (t,) int16 at 16 kHz; `tracks` (f, k + 1) at 25 fps: the k mouth
    actions, then loudness."""

    samples16: NDArray[np.int16]
    tracks: NDArray[np.float16]
    phones: tuple[Phone, ...]
    voice: str
    text: str

    @property
    def samples(self) -> NDArray[np.float32]:
        """(t,) float32 in -1..1 at 16 kHz."""
        return self.samples16.astype(np.float32) / 32768.0

    @property
    def mouth(self) -> dict[str, NDArray[np.float32]]:
        """Per ARKit action its weight (f,) at 25 fps."""
        return {action: self.tracks[:, i].astype(np.float32) for i, action in enumerate(MOUTH_ACTIONS)}

    @property
    def loudness(self) -> NDArray[np.float32]:
        """(f,) in 0..1 at 25 fps."""
        return self.tracks[:, -1].astype(np.float32)

    @property
    def duration_s(self) -> float:
        return len(self.samples16) / SAMPLE_RATE

    @cached_property
    def utterance(self) -> Utterance:
        """The same as an `Utterance`, e.g. for tracks at another rate."""
        return Utterance(self.samples, self.phones, self.voice, self.text)


class VoiceCorpus:
    """A corpus folder, read lazily: `utterances(split)` loads a split once and keeps it."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._loaded: dict[str, list[VoiceRecord]] = {}
        if not any(self.folder.glob("train-*.npz")):
            raise EmoInputError("voice corpus", f"no shards in {self.folder}", "a folder that build_corpus wrote")

    def utterances(self, split: Split) -> list[VoiceRecord]:
        if split not in get_args(Split):
            raise EmoInputError("split", repr(split), f"one of {', '.join(get_args(Split))}")
        if split not in self._loaded:
            paths = sorted(self.folder.glob(f"{split}-*.npz"))
            self._loaded[split] = [record for path in paths for record in _read_shard(path)]
        return self._loaded[split]


def build_corpus(
    folder: str | Path,
    *,
    minutes: float = 80.0,
    seed: int = 0,
    processes: int | None = None,
    splits: Sequence[Split] = get_args(Split),
) -> VoiceCorpus:
    """Write `minutes` of training sound and the test splits (about 2 s a minute on one core); returns the reader.

    EmoInputError if `folder` holds a corpus of another seed, or flite is missing.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _check_same_job(folder, seed)
    jobs: list[tuple[Split, int, float]] = [("real", 0, 0.0)]  # (split, number of the shard, its minutes)
    test_share = min(1.0, minutes / 20.0)  # a tiny corpus gets tiny tests
    for split, test_minutes in _TEST_MINUTES.items():
        jobs.append((split, 0, test_minutes * test_share))  # type: ignore[arg-type]
    shards = max(1, round(minutes / _SHARD_MINUTES))
    jobs += [("train", number, minutes / shards) for number in range(shards)]
    jobs = [job for job in jobs if job[0] in splits]
    todo = [job for job in jobs if not _shard_path(folder, job[0], job[1]).exists()]
    work = partial(_write_shard, folder, seed)
    workers = min(processes or os.cpu_count() or 1, max(1, len(todo)))
    if workers == 1:
        finished = list(map(work, todo))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            finished = list(pool.map(work, todo))
    log.info("voice corpus: %d shards written to %s, %d were there", len(finished), folder, len(jobs) - len(todo))
    return VoiceCorpus(folder)


def _check_same_job(folder: Path, seed: int) -> None:
    note, job = folder / "corpus.json", {"seed": seed, "format": _FORMAT}
    if note.exists() and json.loads(note.read_text()) != job:
        raise EmoInputError("voice corpus", f"{note.read_text()} in {folder}", f"{job}", "Choose another folder.")
    note.write_text(json.dumps(job))


def _shard_path(folder: Path, split: str, number: int) -> Path:
    return folder / f"{split}-{number:03d}.npz"


def _write_shard(folder: Path, seed: int, job: tuple[Split, int, float]) -> Path:
    split, number, minutes = job
    rng = np.random.default_rng([seed, get_args(Split).index(split), number])
    utterances: list[Utterance] = alignment.librivox_clips() if split == "real" else []
    total = 0.0
    while total < minutes * 60:
        utterances.append(random_utterance(rng, split))
        total += utterances[-1].duration_s
    path = _shard_path(folder, split, number)
    arrays = _pack(utterances)
    partial_path = path.with_suffix(".part")
    with partial_path.open("wb") as file:
        np.savez(file, **arrays)
    partial_path.replace(path)
    return path


def random_utterance(rng: np.random.Generator, split: Split) -> Utterance:
    """One utterance of a split: mostly sentences, in training also song and silence."""
    kind = "song" if split == "test_song" else "speech"
    if split == "train":
        kind = str(rng.choice(["speech", "song", "silence"], p=[0.83, 0.14, 0.03]))
    if kind == "song":
        return song.sing(rng, rng.uniform(2.5, 6.0))
    if kind == "silence":
        return speech.silence(rng.uniform(2.0, 4.0), rng)
    voice = speech.HELD_OUT_VOICE if split == "test_voice" else str(rng.choice(speech.TRAIN_VOICES))
    manner = _random_manner(rng, voice) if split == "train" else _random_manner(rng, voice, tract=False)
    test = split != "train"
    parts = [speech.synthesise(sentence(rng, test=test), voice, manner)]
    if rng.random() < 0.2:  # a pause inside, a second sentence after it
        parts += [
            speech.silence(rng.uniform(0.2, 1.0), rng),
            speech.synthesise(sentence(rng, test=test), voice, manner),
        ]
    if rng.random() < 0.3:
        parts.insert(0, speech.silence(rng.uniform(0.1, 0.8), rng))
    return speech.scaled(speech.join(parts), rng.uniform(0.15, 0.95))


def _random_manner(rng: np.random.Generator, voice: str, tract: bool = True) -> Manner:
    """Women's voices are moved down and men's up, so that the four overlap."""
    low, high = (0.8, 1.12) if voice == "slt" else (0.92, 1.3)
    return Manner(
        stretch=float(np.exp(rng.uniform(np.log(0.75), np.log(1.5)))),
        pitch=float(rng.uniform(0.8, 1.3)),
        tract=float(rng.uniform(low, high)) if tract else 1.0,
    )


def _pack(utterances: list[Utterance]) -> dict[str, Any]:
    samples = [np.round(u.samples.clip(-1, 1) * 32767).astype(np.int16) for u in utterances]
    tracks = []
    for utterance in utterances:
        mouth = mouth_track(utterance, FPS)
        columns = [*(mouth[action] for action in MOUTH_ACTIONS), loudness_track(utterance, FPS)]
        tracks.append(np.stack(columns, axis=1).astype(np.float16))
    about = [{"voice": u.voice, "text": u.text, "phones": [list(p) for p in u.phones]} for u in utterances]
    return {
        "samples": np.concatenate(samples) if samples else np.zeros(0, np.int16),
        "sample_counts": np.asarray([len(s) for s in samples], np.int64),
        "tracks": np.concatenate(tracks) if tracks else np.zeros((0, len(MOUTH_ACTIONS) + 1), np.float16),
        "frame_counts": np.asarray([len(t) for t in tracks], np.int64),
        "actions": np.asarray(MOUTH_ACTIONS),
        "about": np.asarray(json.dumps(about)),
    }


def _read_shard(path: Path) -> list[VoiceRecord]:
    with np.load(path, allow_pickle=False) as shard:
        if tuple(shard["actions"]) != MOUTH_ACTIONS:
            raise EmoInputError(str(path), "other mouth actions", f"{MOUTH_ACTIONS}", "Build the corpus again.")
        samples = np.split(shard["samples"], np.cumsum(shard["sample_counts"])[:-1])
        tracks = np.split(shard["tracks"], np.cumsum(shard["frame_counts"])[:-1])
        about = json.loads(str(shard["about"]))
    return [
        VoiceRecord(s, t, tuple(Phone(*p) for p in a["phones"]), a["voice"], a["text"])
        for s, t, a in zip(samples, tracks, about, strict=False)
    ]
