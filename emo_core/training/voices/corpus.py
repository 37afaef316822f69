"""A corpus of voices on disk: made once, in parallel, from a seed; read by the encoder's and the heads' training.

`build_corpus` writes shards `<split>-<number>.npz` (int16 samples at 16 kHz, mouth tracks and loudness at 25 fps,
phones as JSON). A shard's content follows from the seed and its number alone, and a finished shard is not made again,
so a killed run continues, and a corpus grows: a shard holds four minutes, the last one what is left, which is also how
a longer one begins. `VoiceCorpus` reads. Splits: `train`; `test_sentences` (voices of the training, sentences
it never has); `test_voice` (the held-out voice awb, such sentences too); `test_song`; `real` (LibriVox, aligned);
`accents` (as much as `train`, of espeak-ng's many voices, where that is installed: for the audio encoder alone).
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import EmoInputError
from ...files import exists, shown
from ...installed import require
from ...owned import refuse_impossible
from ...whole import write_text_whole, written_whole
from ..records import fits, read_arrays, read_json
from . import accents, alignment, song, speech
from .phones import PHONE_INDEX, Phone
from .sentences import sentence
from .speech import SAMPLE_RATE, Manner, Utterance
from .visemes import MOUTH_ACTIONS, loudness_track, mouth_track

Split = Literal["train", "test_sentences", "test_voice", "test_song", "real", "accents"]
FPS = 25.0
SHARD_MINUTES = 4.0
_TEST_MINUTES: tuple[tuple[Split, float], ...] = (("test_sentences", 4.0), ("test_voice", 4.0), ("test_song", 1.0))
_MOST_MINUTES = 100_000  # of which seventy days of work come
_FORMAT = 1  # raise when what a shard holds changes
_NOTE = "corpus.json"
_AGAIN = "Remove the file and run `train voices` again: it makes what is missing."
_ARRAYS = {
    "samples": ("i", 1), "sample_counts": ("i", 1), "tracks": ("f", 2), "frame_counts": ("i", 1), "actions": ("U", 1),
    "about": ("U", 0),
}  # fmt: skip

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
        if not _shards(self.folder, "train"):
            found = f"no shards in {shown(self.folder)}"
            allowed = "a folder that `train voices` wrote"
            raise EmoInputError("voice corpus", found, allowed, "Run `train voices` first.")

    def utterances(self, split: Split) -> list[VoiceRecord]:
        if split not in get_args(Split):
            raise EmoInputError("split", repr(split), f"one of {', '.join(get_args(Split))}")
        if split not in self._loaded:
            paths = _shards(self.folder, split)
            if list(paths) != list(range(len(paths))):
                missing = next(number for number in range(len(paths)) if number not in paths)
                found = f"no {split}-{missing:03d}.npz before {paths[max(paths)].name} in {self.folder}"
                remedy = "Run `train voices` again: it makes the rest."
                raise EmoInputError("voice corpus", found, "all shards", remedy)
            self._loaded[split] = [record for path in paths.values() for record in _read_shard(path)]
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

    A corpus that is there and shorter grows to the same that would be made at once; a longer one is used as it is.
    EmoInputError if `folder` holds a corpus of another seed, or flite is missing.
    """
    folder = Path(folder)
    if not 0 < minutes <= _MOST_MINUTES:
        raise EmoInputError("minutes", f"{minutes:g}", f"more than 0, at most {_MOST_MINUTES:,}")
    refuse_impossible(folder, name="voice corpus")
    _check_same_job(folder, seed)
    jobs = [job for job in _jobs(folder, minutes) if job.split in splits]
    kept = _older_layout(folder, minutes)
    todo = [job for job in jobs if not (kept and job.split == "train") and not _is_made(folder, job)]
    if todo:
        require("voices", programs=("flite",), packages=packages_needed())
    _note_job(folder, seed)
    if "accents" in splits and not accents.can_speak():
        log.warning("voice corpus: no libespeak-ng here (apt-get install espeak-ng): the audio encoder hears less well")
    work = partial(_write_shard, folder, seed)
    # What grows comes first: the utterances of later shards are counted behind it.
    growing = [job for job in todo if job.path(folder).exists()]
    _done_by_all(work, growing, processes)
    _done_by_all(work, [job for job in todo if job not in growing], processes)
    _tell(folder, minutes, jobs=len(jobs), made=len(todo), grown=len(growing))
    return VoiceCorpus(folder)


def packages_needed() -> tuple[str, ...]:
    """What voices are made with besides flite: pocketsphinx only where there are recordings to align."""
    return ("scipy", "pocketsphinx") if alignment.LIBRIVOX_FOLDER.is_dir() else ("scipy",)


@dataclass(frozen=True)
class _Job:
    """One shard: which, and at least how long."""

    split: Split
    number: int
    minutes: float

    def path(self, folder: Path) -> Path:
        return folder / f"{self.split}-{self.number:03d}.npz"


def _jobs(folder: Path, minutes: float) -> list[_Job]:
    """The shards of a corpus of `minutes`, and those before any shard that is there: they cannot stay away."""
    jobs = [_Job("real", 0, 0.0)]
    test_share = min(1.0, minutes / 20.0)  # a tiny corpus gets tiny tests
    jobs += [_Job(split, 0, length * test_share) for split, length in _TEST_MINUTES]
    there = _shards(folder, "train")
    count = max(math.ceil(minutes / SHARD_MINUTES), 1, *(number + 1 for number in there))
    for number in range(count):
        left = SHARD_MINUTES if number < max(there, default=0) else minutes - number * SHARD_MINUTES
        jobs.append(_Job("train", number, min(SHARD_MINUTES, left)))
    # Whole ones, which never grow: how espeak-ng's noises begin follows from what it spoke before.
    if accents.can_speak():
        missing = sorted(set(range(count)) - set(_shards(folder, "accents")))
        jobs += [_Job("accents", number, SHARD_MINUTES) for number in missing]
    return jobs


def _shards(folder: Path, split: str) -> dict[int, Path]:
    """The shards of a split that are there, by number."""
    found: dict[int, Path] = {}
    if not exists(folder):
        return found
    for path in folder.glob(f"{split}-*.npz"):
        number = path.stem.removeprefix(f"{split}-")
        if number.isascii() and number.isdecimal() and number == f"{int(number):03d}":  # else it is somebody's copy
            found[int(number)] = path
    return dict(sorted(found.items()))


def _is_made(folder: Path, job: _Job) -> bool:
    path = job.path(folder)
    return path.exists() and _minutes_in(path) >= job.minutes


def _minutes_in(path: Path, *, but_last: int = 0) -> float:
    """Minutes of sound in a shard, without so many utterances at its end."""
    counts = read_arrays(path, {"sample_counts": ("i", 1)}, what="voice corpus", again=_AGAIN)["sample_counts"]
    return float(counts[: len(counts) - but_last].sum()) / SAMPLE_RATE / 60


def _older_layout(folder: Path, minutes: float) -> bool:
    """Whether an earlier version made this corpus, which cut short ones into shards of equal length. EmoInputError if
    more is asked for than is there: what would be put into the middle moves what is behind it."""
    lengths = [_minutes_in(path) for path in _shards(folder, "train").values()]
    if all(length >= SHARD_MINUTES for length in lengths[:-1]):
        return False
    if sum(lengths) < minutes:
        found = f"{minutes:g}, and {sum(lengths):.1f} in shards of an earlier version in {folder}"
        raise EmoInputError("minutes", found, "no more than are there", "Choose another folder.")
    return True


def _done_by_all(work: Callable[[_Job], Path], jobs: Sequence[_Job], processes: int | None) -> None:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    workers = min(processes or os.cpu_count() or 1, len(jobs))
    if workers <= 1:
        list(map(work, jobs))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(work, jobs))


def _tell(folder: Path, minutes: float, *, jobs: int, made: int, grown: int) -> None:
    there = _shards(folder, "train")
    log.info("voice corpus: %d shards written to %s (%d of them grew), %d were there", made, folder, grown, jobs - made)
    if there and max(there) * SHARD_MINUTES + _minutes_in(there[max(there)], but_last=1) >= minutes:
        total = sum(map(_minutes_in, there.values()))
        log.warning("voice corpus: %.1f minutes are in %s, %g were asked for: used as it is", total, folder, minutes)


def _check_same_job(folder: Path, seed: int) -> None:
    note, job = folder / _NOTE, {"seed": seed, "format": _FORMAT}
    if note.exists():
        noted = read_json(note, {"seed": int, "format": int}, what="voice corpus", again="Choose another folder.")
        if noted != job:
            raise EmoInputError("voice corpus", f"{noted} in {folder}", f"{job}", "Choose another folder.")


def _note_job(folder: Path, seed: int) -> None:
    if not (folder / _NOTE).exists():
        write_text_whole(folder / _NOTE, json.dumps({"seed": seed, "format": _FORMAT}))


def _write_shard(folder: Path, seed: int, job: _Job) -> Path:
    """Make a shard, or a longer one of the one that is there, which must begin with it."""
    rng = np.random.default_rng([seed, get_args(Split).index(job.split), job.number])
    utterances: list[Utterance] = alignment.librivox_clips() if job.split == "real" else []
    total = 0.0
    while total < job.minutes * 60:
        utterances.append(random_utterance(rng, job.split))
        total += utterances[-1].duration_s
    path, arrays = job.path(folder), _pack(utterances)
    if path.exists():
        before = read_arrays(path, {"samples": ("i", 1), "tracks": ("f", 2)}, what="voice corpus", again=_AGAIN)
        if any(not np.array_equal(arrays[name][: len(known)], known) for name, known in before.items()):
            found = f"{path.name}, which begins otherwise than what flite speaks here"
            raise EmoInputError("voice corpus", found, "the flite that it was made with", "Choose another folder.")
    with written_whole(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)
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
    test = split not in ("train", "accents")
    speak = accents.synthesise if split == "accents" else speech.synthesise
    if split == "accents":
        voice = f"{rng.choice(accents.ACCENTS)}+{rng.choice(accents.THROATS)}"
    else:
        voice = speech.HELD_OUT_VOICE if split == "test_voice" else str(rng.choice(speech.TRAIN_VOICES))
    manner = _random_manner(rng, voice, tract=not test)
    parts = [speak(sentence(rng, test=test), voice, manner)]
    if rng.random() < 0.2:  # a pause inside, a second sentence after it
        parts += [speech.silence(rng.uniform(0.2, 1.0), rng), speak(sentence(rng, test=test), voice, manner)]
    if rng.random() < 0.3:
        parts.insert(0, speech.silence(rng.uniform(0.1, 0.8), rng))
    return speech.scaled(speech.join(parts), rng.uniform(0.15, 0.95))


def _random_manner(rng: np.random.Generator, voice: str, tract: bool = True) -> Manner:
    """flite's woman is moved down and its men up, so that they overlap."""
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
    shard = read_arrays(path, _ARRAYS, what="voice corpus", again=_AGAIN)
    if tuple(shard["actions"]) != MOUTH_ACTIONS:
        raise EmoInputError(str(path), "other mouth actions", f"{MOUTH_ACTIONS}", "Build the corpus again.")
    try:
        about = json.loads(str(shard["about"]))
    except (ValueError, RecursionError) as error:
        raise EmoInputError("voice corpus", f"{path}, whose texts are no JSON", "a whole shard", _AGAIN) from error
    samples, tracks = shard["samples"], shard["tracks"]
    counts = ((shard["sample_counts"], len(samples)), (shard["frame_counts"], len(tracks)))
    whole = fits(about, [{"voice": str, "text": str, "phones": [(str, float, float)]}])
    whole = whole and tracks.shape[1] == len(MOUTH_ACTIONS) + 1
    whole = whole and all(phone[0] in PHONE_INDEX for one in about for phone in one["phones"])
    for lengths, total in counts:
        whole = whole and len(lengths) == len(about) and bool(((lengths >= 0) & (lengths <= total)).all())
        whole = whole and int(lengths.sum()) == total
    if not whole:
        raise EmoInputError("voice corpus", f"{path}, whose parts do not fit together", "a whole shard", _AGAIN)
    parts = zip(
        np.split(samples, np.cumsum(shard["sample_counts"])[:-1]),
        np.split(tracks, np.cumsum(shard["frame_counts"])[:-1]),
        about,
        strict=False,
    )
    return [VoiceRecord(s, t, tuple(Phone(*p) for p in a["phones"]), a["voice"], a["text"]) for s, t, a in parts]
