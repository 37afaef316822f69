"""The test set: people, sentences and a voice that training never saw, with the truth about every frame.

In: a `TruthSpec` and a folder. Out: `Case`s, rendered once and read from the folder ever after, so that an evaluation
can be repeated where neither flite nor anny is installed. Everything follows from the seed.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import EmoInputError
from ..training.recipe import TEST_IDENTITIES

if TYPE_CHECKING:
    from ..training.heads.render import HeadRenderer, RenderedClip
    from ..training.voices.corpus import VoiceCorpus, VoiceRecord

log = logging.getLogger(__name__)

Voices = Literal[
    "sentences", "voice"
]  # unseen sentences of the training's voices; an unseen voice (other sentences too)
FPS = 25.0  # of the voices' tracks
SAMPLE_RATE = 16_000
FIRST_IDENTITY = TEST_IDENTITIES + 5000  # beyond those whose clips training looks at to choose its settings
_FORMAT = 1
_NOTE = "testset.json"


@dataclass(frozen=True)
class TruthSpec:
    """`cases` clips of `frames` frames, one person each; portraits of `people` persons in all, the cases' first."""

    cases: int = 12
    frames: int = 75
    people: int = 20
    size: int = 128
    seed: int = 0
    long_frames: int = 750  # of the sound for the long video


@dataclass(frozen=True)
class Case:
    """One person speaking. Boxes (f, 4) in pixels; `mouth_open` and `jaw` (f,) as in training/heads/render.py;
    `samples` (t,) float32 at 16 kHz; `portrait` (H, W, 3) uint8, the person at rest, eyes open; `portrait_box` (4,)."""

    name: str
    voices: str
    moving: bool
    frames: NDArray[np.uint8]
    face_box: NDArray[np.float32]
    mouth_box: NDArray[np.float32]
    eye_box: NDArray[np.float32]
    mouth_open: NDArray[np.float32]
    jaw: NDArray[np.float32]
    speed_deg: NDArray[np.float32]
    samples: NDArray[np.float32]
    portrait: NDArray[np.uint8]
    portrait_box: NDArray[np.float32]


@dataclass(frozen=True)
class TruthSet:
    """`others` (p, H, W, 3) uint8: portraits of further people; `long_samples` (t,): test sentences in a row."""

    spec: TruthSpec
    cases: tuple[Case, ...]
    others: NDArray[np.uint8]
    long_samples: NDArray[np.float32] = field(repr=False)


def load_testset(folder: Path, spec: TruthSpec, voices: Path | None = None) -> TruthSet:
    """The test set of this spec in `folder`, made first if it is not there, and anew, with a warning, if it is another.

    `voices` is a corpus that training/voices wrote; without one the set that is there is taken whoever speaks in it,
    and a new one gets a small corpus of its own, which needs flite.
    """
    note = folder / _NOTE
    noted = json.loads(note.read_text()) if note.exists() else None
    spoken = noted.pop("voices", None) if noted else None
    if noted != _as_noted(spec) or (voices and spoken != _spoken(voices)):
        if noted:
            why = "other voices" if noted == _as_noted(spec) else f"{noted}, not {_as_noted(spec)}"
            log.warning("the test set in %s is of %s: it is drawn anew", folder, why)
        save_testset(folder, _make(folder, spec, voices), voices or folder / "voices")
    cases = tuple(_read(folder / f"case-{i:03d}.npz") for i in range(spec.cases))
    with np.load(folder / "others.npz", allow_pickle=False) as more:
        return TruthSet(spec, cases, more["portraits"], more["samples"].astype(np.float32) / 32767)


def save_testset(folder: Path, tests: TruthSet, voices: Path | None = None) -> None:
    """Write a test set; the note that says which one it is, and whose `voices` are in it, comes last. The note
    of a set that was there before goes first, so that one half drawn anew is taken for neither."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _NOTE).unlink(missing_ok=True)
    for index, case in enumerate(tests.cases):
        arrays: dict[str, Any] = {f.name: getattr(case, f.name) for f in fields(Case)}
        arrays["samples"] = _as_int16(case.samples)
        np.savez_compressed(folder / f"case-{index:03d}.npz", **arrays)
    np.savez_compressed(folder / "others.npz", portraits=tests.others, samples=_as_int16(tests.long_samples))
    noted = _as_noted(tests.spec) | ({"voices": _spoken(voices)} if voices else {})
    (folder / _NOTE).write_text(json.dumps(noted))


def _as_noted(spec: TruthSpec) -> dict[str, Any]:
    return {"format": _FORMAT, **asdict(spec)}


def _spoken(voices: Path) -> dict[str, int]:
    """What tells the test voices of one corpus from those of another: their files and sizes in bytes."""
    return {path.name: path.stat().st_size for path in sorted(voices.glob("test_*"))}


def _make(folder: Path, spec: TruthSpec, voices: Path | None) -> TruthSet:
    if spec.cases > spec.people:
        raise EmoInputError("clips", f"{spec.cases}", f"at most {spec.people}", "Every clip needs a person of its own.")
    try:
        from ..training.heads.render import HeadRenderer
        from ..training.voices.corpus import VoiceCorpus, build_corpus
    except ImportError as error:
        remedy = "Install the training requirements, or give --testset the folder of an earlier evaluation."
        raise EmoInputError("test set", f"no {error.name}", "the packages that draw test heads", remedy) from error
    log.info("drawing %d test clips and %d portraits into %s", spec.cases, spec.people, folder)
    # The test sentences are drawn with seeds of their own: a small corpus has as many of another seed as a large one.
    corpus = VoiceCorpus(voices) if voices else build_corpus(folder / "voices", minutes=4.0, seed=1000 + spec.seed)
    renderer = HeadRenderer(spec.size)
    cases = tuple(_draw(renderer, corpus, spec, index) for index in range(spec.cases))
    others = [_portrait(renderer, FIRST_IDENTITY + i, FPS).frames[0] for i in range(spec.cases, spec.people)]
    nobody = np.zeros((0, spec.size, spec.size, 3), np.uint8)
    return TruthSet(spec, cases, np.stack(others) if others else nobody, _long_sound(corpus, spec))


def _draw(renderer: HeadRenderer, corpus: VoiceCorpus, spec: TruthSpec, index: int) -> Case:
    """Case `index`: the four kinds (sentences or voice, still or moving) take turns."""
    from ..training.heads.identity import sample_identity
    from ..training.heads.performance import perform

    rng = np.random.default_rng((spec.seed, 91, index))
    voices: Voices = "sentences" if index % 2 == 0 else "voice"
    moving = index % 4 >= 2
    record, start = _utterance(
        rng, corpus.utterances("test_sentences" if index % 2 == 0 else "test_voice"), spec.frames
    )
    window = slice(start, start + spec.frames)
    performance = perform(
        {name: track[window] for name, track in record.mouth.items()},
        record.loudness[window],
        fps=FPS,
        seed=FIRST_IDENTITY + index,
        style="talking" if moving else "still",
        speed=float(rng.uniform(0.1, 1.0)) if moving else None,
    )
    identity = sample_identity(FIRST_IDENTITY + index)
    clip, portrait = renderer.render(identity, performance), _portrait(renderer, FIRST_IDENTITY + index, FPS)
    per_frame = int(SAMPLE_RATE / FPS)
    return Case(
        name=f"{index:03d}-{voices}-{'moving' if moving else 'still'}",
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
        portrait=portrait.frames[0],
        portrait_box=portrait.face_box[0],
    )


def _portrait(renderer: HeadRenderer, identity: int, fps: float) -> RenderedClip:
    """The person at rest: mouth shut, no movement; its first frame comes before any blink."""
    from ..training.heads.identity import sample_identity
    from ..training.heads.performance import perform

    rest = perform({}, np.zeros(2, np.float32), fps=fps, seed=identity, style="still", speed=0.0)
    return renderer.render(sample_identity(identity), rest)


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


def _as_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.round(samples.clip(-1, 1) * 32767).astype(np.int16)


def _read(path: Path) -> Case:
    with np.load(path, allow_pickle=False) as file:
        arrays: dict[str, Any] = {f.name: file[f.name] for f in fields(Case)}
    arrays["samples"] = arrays["samples"].astype(np.float32) / 32767
    arrays["name"], arrays["voices"] = str(arrays["name"]), str(arrays["voices"])
    arrays["moving"] = bool(arrays["moving"])
    return Case(**arrays)
