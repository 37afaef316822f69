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
from ..files import exists
from ..installed import require
from ..owned import claim_folder, claimable, mark_of, write_mark
from ..training.recipe import TEST_IDENTITIES
from ..training.records import read_arrays, read_json
from ..whole import write_text_whole, written_whole

if TYPE_CHECKING:
    from ..training.clips import Clip
    from ..training.heads.render import HeadRenderer
    from ..training.voices.corpus import VoiceCorpus, VoiceRecord

log = logging.getLogger(__name__)

Voices = Literal[
    "sentences", "voice"
]  # unseen sentences of the training's voices; an unseen voice (other sentences too)
FPS = 25.0  # of the voices' tracks
SAMPLE_RATE = 16_000
FIRST_IDENTITY = TEST_IDENTITIES + 5000  # beyond those whose clips training looks at to choose its settings
_FORMAT = 1
KIND, OTHERS = "test set", "others.npz"
_NOTE = "testset.json"
_AGAIN = "Remove testset.json: the set is drawn anew."
_PER_FRAME = ("face_box", "mouth_box", "eye_box", "mouth_open", "jaw", "speed_deg")
_ARRAYS = {
    "name": ("U", 0), "voices": ("U", 0), "moving": ("b", 0), "frames": ("u", 4), "face_box": ("f", 2),
    "mouth_box": ("f", 2), "eye_box": ("f", 2), "mouth_open": ("f", 1), "jaw": ("f", 1), "speed_deg": ("f", 1),
    "samples": ("i", 1), "portrait": ("u", 3), "portrait_box": ("f", 1),
}  # fmt: skip


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
    noted = _noted(folder)
    spoken = noted.pop("voices", None) if noted else None
    if noted != _as_noted(spec) or (voices and spoken != _spoken(voices)):
        if noted:
            why = "other voices" if noted == _as_noted(spec) else f"{noted}, not {_as_noted(spec)}"
            log.warning("the test set in %s is of %s: it is drawn anew", folder, why)
        _claim(folder)
        save_testset(folder, _make(folder, spec, voices), voices or folder / "voices")
    cases = tuple(_read(folder / f"case-{i:03d}.npz") for i in range(spec.cases))
    more = read_arrays(folder / OTHERS, {"portraits": ("u", 4), "samples": ("i", 1)}, what="test set", again=_AGAIN)
    return TruthSet(spec, cases, more["portraits"], _as_float(more["samples"]))


def refuse_testset(folder: Path, spec: TruthSpec, voices: Path | None = None) -> None:
    """What `load_testset` would fail of, whatever the size of the pictures: EmoInputError where a set must be drawn
    into a folder that is not ours, or with packages and programs that are not installed."""
    noted = _noted(folder)
    spoken = noted.pop("voices", None) if noted else None
    if noted and noted == _as_noted(spec) | {"size": noted.get("size")} and not (voices and spoken != _spoken(voices)):
        return
    if noted is None:
        claimable(folder, KIND, name="test set")
    _refuse_undrawable(folder, spec, voices)


def _refuse_undrawable(folder: Path, spec: TruthSpec, voices: Path | None) -> None:
    """Raises EmoInputError where no test set can be drawn here."""
    from ..training.heads.geometry import cached_geometry
    from ..training.voices.corpus import VoiceCorpus, packages_needed

    if spec.cases > spec.people:
        raise EmoInputError("clips", f"{spec.cases}", f"at most {spec.people}", "Every clip needs a person of its own.")
    if voices is not None:
        VoiceCorpus(voices)
    speaks = voices is None and not any((folder / "voices").glob("test_*"))
    packages = {"numba", "scipy"} | (set() if cached_geometry().exists() else {"anny"})
    packages |= set(packages_needed()) if speaks else set()
    instead = ", or give --testset the folder of an earlier evaluation."
    require("evaluate", programs=("flite",) if speaks else (), packages=sorted(packages), instead=instead)


def is_testset(folder: Path) -> bool:
    """Whether a test set of ours is in a folder; those of earlier versions have no mark but a note."""
    try:
        return mark_of(folder, KIND) is not None or _noted(folder) is not None
    except EmoInputError:
        return False


def _noted(folder: Path) -> dict[str, Any] | None:
    """What a test set says of itself; None where none is."""
    note = folder / _NOTE
    if not exists(note):
        return None
    noted: dict[str, Any] = read_json(note, {"format": int}, what="test set", again="Choose another folder for it.")
    return noted


def save_testset(folder: Path, tests: TruthSet, voices: Path | None = None) -> None:
    """Write a test set; the note that says which one it is, and whose `voices` are in it, comes last. The note
    of a set that was there before goes first, so that one half drawn anew is taken for neither. Raises EmoInputError
    for a folder with anything else in it."""
    _claim(folder)
    (folder / _NOTE).unlink(missing_ok=True)
    for index, case in enumerate(tests.cases):
        arrays: dict[str, Any] = {f.name: getattr(case, f.name) for f in fields(Case)}
        arrays["samples"] = _as_int16(case.samples)
        _save(folder / f"case-{index:03d}.npz", arrays)
    _save(folder / OTHERS, {"portraits": tests.others, "samples": _as_int16(tests.long_samples)})
    noted = _as_noted(tests.spec) | ({"voices": _spoken(voices)} if voices else {})
    write_text_whole(folder / _NOTE, json.dumps(noted))


def _claim(folder: Path) -> None:
    if is_testset(folder):  # also one of a version without marks
        write_mark(folder, KIND)
    claim_folder(folder, KIND, name="test set")


def _save(path: Path, arrays: dict[str, Any]) -> None:
    with written_whole(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _as_noted(spec: TruthSpec) -> dict[str, Any]:
    return {"format": _FORMAT, **asdict(spec)}


def _spoken(voices: Path) -> dict[str, int]:
    """What tells the test voices of one corpus from those of another: their files and sizes in bytes."""
    return {path.name: path.stat().st_size for path in sorted(voices.glob("test_*"))}


def _make(folder: Path, spec: TruthSpec, voices: Path | None) -> TruthSet:
    _refuse_undrawable(folder, spec, voices)
    from ..training.heads.render import HeadRenderer
    from ..training.voices.corpus import VoiceCorpus, build_corpus

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


def _portrait(renderer: HeadRenderer, identity: int, fps: float) -> Clip:
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


def _as_float(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    return np.asarray(samples, np.float32) / np.float32(32767)


def _read(path: Path) -> Case:
    arrays: dict[str, Any] = read_arrays(path, _ARRAYS, what="test set", again=_AGAIN)
    frames = len(arrays["frames"])
    if any(len(arrays[name]) != frames for name in _PER_FRAME):
        raise EmoInputError("test set", f"{path.name}, whose parts do not fit together", "a whole clip", _AGAIN)
    arrays["samples"] = _as_float(arrays["samples"])
    arrays["name"], arrays["voices"] = str(arrays["name"]), str(arrays["voices"])
    arrays["moving"] = bool(arrays["moving"])
    return Case(**arrays)
