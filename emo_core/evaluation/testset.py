"""The test sets: people, sentences and a voice that training never saw, with the truth about every frame.

In: a `TruthSpec` and a folder. Out: `Case`s, drawn once and read from the folder ever after, so that an evaluation can
be repeated where neither flite nor anny is installed. Everything follows from the seed, and for puppets from their
photographs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EmoInputError
from ..files import exists
from ..installed import require
from ..owned import claim_folder, claimable, mark_of, write_mark
from ..training.records import read_arrays, read_json
from ..whole import write_text_whole, written_whole
from .truth import HEADS, PUPPETS, Case, Squares, TruthSet, TruthSpec

log = logging.getLogger(__name__)

_FORMAT = 1
KIND, OTHERS, SQUARES = "test set", "others.npz", "squares.npz"
_NOTE = "testset.json"
_AGAIN = "Remove testset.json: the set is drawn anew."
_PER_FRAME = ("face_box", "mouth_box", "eye_box", "mouth_open", "jaw", "speed_deg")
_ARRAYS = {
    "name": ("U", 0), "voices": ("U", 0), "moving": ("b", 0), "frames": ("u", 4), "face_box": ("f", 2),
    "mouth_box": ("f", 2), "eye_box": ("f", 2), "mouth_open": ("f", 1), "jaw": ("f", 1), "speed_deg": ("f", 1),
    "samples": ("i", 1), "portrait": ("u", 3), "portrait_box": ("f", 1),
}  # fmt: skip
_EARLIER = {"kind": HEADS, "shown": 0}  # what sets of earlier versions do not say of themselves


@dataclass(frozen=True)
class Sources:
    """What a set is drawn from. `voices`: a corpus that training/voices wrote; None: the set that is there is taken
    whoever speaks in it, and a new one gets a small corpus in the folder `spoken`, which needs flite. `photos`: folders
    of portraits; None: likewise the puppets that are there, and new ones from this repository's portraits."""

    voices: Path | None = None
    photos: tuple[Path, ...] | None = None
    spoken: Path | None = None  # its own folder's "voices"


def load_testset(folder: Path, spec: TruthSpec, sources: Sources | None = None) -> TruthSet:
    """The test set of this spec in `folder`, made first if it is not there, and anew, with a warning, if it is another,
    or from other sources."""
    sources = sources or Sources()
    noted = _noted(folder)
    why = "" if noted is None else _why_other(noted, spec, sources)
    if noted is None or why:
        if why:
            log.warning("the test set in %s is of %s: it is drawn anew", folder, why)
        claim_testset(folder)
        save_testset(folder, _make(folder, spec, sources), replace(sources, voices=_voices(folder, sources)))
        noted = _noted(folder) or {}
    cases = tuple(_read(folder / f"case-{i:03d}.npz") for i in range(_drawn(noted, spec)))
    more = read_arrays(folder / OTHERS, {"portraits": ("u", 4), "samples": ("i", 1)}, what="test set", again=_AGAIN)
    return TruthSet(spec, cases, more["portraits"], _as_float(more["samples"]), _read_squares(folder, spec))


def refuse_testset(folder: Path, spec: TruthSpec, sources: Sources | None = None) -> None:
    """What `load_testset` would fail of, whatever the size of the pictures: EmoInputError where a set must be drawn
    into a folder that is not ours, with packages and programs that are not installed, or of photographs of nobody."""
    sources = sources or Sources()
    noted = _noted(folder)
    sizes = ("size", "shown")
    if noted and not _why_other(noted | {name: getattr(spec, name) for name in sizes}, spec, sources):
        return
    if noted is None:
        claimable(folder, KIND, name="test set")
    _refuse_undrawable(folder, spec, sources)


def _why_other(noted: Mapping[str, Any], spec: TruthSpec, sources: Sources) -> str:
    """How the set that is noted differs from the one that is asked for; "" where it does not."""
    wanted = _as_noted(spec)
    said = {name: value for name, value in noted.items() if name not in ("voices", "photos", "drawn")}
    if said != wanted:
        return f"{said}, not {wanted}"
    given = {"voices": sources.voices and _spoken(sources.voices), "photos": sources.photos and _shown(sources.photos)}
    other = [name for name, files in given.items() if files and noted.get(name) != files]
    return " and ".join(f"other {name}" for name in other)


def _refuse_undrawable(folder: Path, spec: TruthSpec, sources: Sources) -> None:
    """Raises EmoInputError where no test set can be drawn here."""
    from ..training.voices.corpus import VoiceCorpus, packages_needed
    from . import head_cast

    if spec.cases > spec.people:
        raise EmoInputError("clips", f"{spec.cases}", f"at most {spec.people}", "Every clip needs a person of its own.")
    if sources.voices is not None:
        VoiceCorpus(sources.voices)
    speaks = sources.voices is None and not any(_voices(folder, sources).glob("test_*"))
    packages = head_cast.packages_needed() if spec.kind == HEADS else {"numba", "scipy"}
    packages |= set(packages_needed()) if speaks else set()
    instead = ", or give --testset the folder of an earlier evaluation."
    require("evaluate", programs=("flite",) if speaks else (), packages=sorted(packages), instead=instead)
    if spec.kind == PUPPETS:
        _refuse_photographs(sources)


def _refuse_photographs(sources: Sources) -> None:
    """Raises EmoInputError for photographs of nobody who is kept for testing."""
    from .puppet_cast import unseen_pictures

    unseen_pictures(sources.photos)


def _voices(folder: Path, sources: Sources) -> Path:
    """Where those who speak in a set are, or will be."""
    return sources.voices or sources.spoken or folder / "voices"


def _drawn(noted: Mapping[str, Any], spec: TruthSpec) -> int:
    """How many cases there are: fewer than were asked for, where there were not so many people."""
    drawn = noted.get("drawn", spec.cases)
    if not isinstance(drawn, int) or not 1 <= drawn <= spec.cases:
        raise EmoInputError("test set", f"{drawn!r} clips of {spec.cases}", "what was written to it", _AGAIN)
    return drawn


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
    return {**_EARLIER, **noted}


def save_testset(folder: Path, tests: TruthSet, sources: Sources | None = None) -> None:
    """Write a test set; the note that says which one it is, whose voices are in it and whose photographs, comes last.
    The note of a set that was there before goes first, so that one half drawn anew is taken for neither. Raises
    EmoInputError for a folder with anything else in it."""
    claim_testset(folder)
    (folder / _NOTE).unlink(missing_ok=True)
    for index, case in enumerate(tests.cases):
        arrays: dict[str, Any] = {f.name: getattr(case, f.name) for f in fields(Case)}
        arrays["samples"] = _as_int16(case.samples)
        _save(folder / f"case-{index:03d}.npz", arrays)
    _save(folder / OTHERS, {"portraits": tests.others, "samples": _as_int16(tests.long_samples)})
    if tests.spec.shown:
        _save(folder / SQUARES, {"pictures": tests.squares.pictures, "face_boxes": tests.squares.face_boxes})
    noted = _as_noted(tests.spec) | {"drawn": len(tests.cases)}
    if sources and sources.voices:
        noted["voices"] = _spoken(sources.voices)
    if sources and sources.photos:
        noted["photos"] = _shown(sources.photos)
    write_text_whole(folder / _NOTE, json.dumps(noted))


def claim_testset(folder: Path) -> None:
    """Make the folder, or take it over if it is a test set's. Raises EmoInputError for anybody else's."""
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


def _shown(photos: Sequence[Path]) -> dict[str, int]:
    """What tells these photographs from others: files below their folders and sizes in bytes."""
    files = [(path.relative_to(folder), path) for folder in photos for path in folder.rglob("*") if path.is_file()]
    return {str(name): path.stat().st_size for name, path in sorted(files)}


def _make(folder: Path, spec: TruthSpec, sources: Sources) -> TruthSet:
    _refuse_undrawable(folder, spec, sources)
    from ..training.voices.corpus import Split, VoiceCorpus, build_corpus
    from .cases import draw_set

    log.info("drawing %d clips of %s and portraits of %d into %s", spec.cases, spec.kind, spec.people, folder)
    # The test sentences are drawn with seeds of their own: a small corpus has as many of another seed as a large one.
    if sources.voices:
        corpus = VoiceCorpus(sources.voices)
    else:
        voices = _voices(folder, sources)
        heard: tuple[Split, ...] = ("test_sentences", "test_voice")
        corpus = build_corpus(voices, minutes=4.0, seed=1000 + spec.seed, splits=("train", *heard))
    if spec.kind == HEADS:
        from .head_cast import Heads

        return draw_set(Heads(spec.people, spec.size), corpus, spec)
    from .puppet_cast import Puppets, unseen_pictures

    puppets = Puppets(unseen_pictures(sources.photos), spec.people, spec.size)
    tests = draw_set(puppets, corpus, spec)
    return replace(tests, squares=puppets.squares(spec.shown)) if spec.shown else tests


def _as_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.round(samples.clip(-1, 1) * 32767).astype(np.int16)


def _as_float(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    return np.asarray(samples, np.float32) / np.float32(32767)


def _read_squares(folder: Path, spec: TruthSpec) -> Squares:
    if not spec.shown:
        return Squares()
    parts = read_arrays(
        folder / SQUARES, {"pictures": ("u", 4), "face_boxes": ("f", 2)}, what="test set", again=_AGAIN
    )  # fmt: skip
    if len(parts["pictures"]) != len(parts["face_boxes"]):
        raise EmoInputError("test set", f"{SQUARES}, whose parts do not fit together", "whole portraits", _AGAIN)
    return Squares(**parts)


def _read(path: Path) -> Case:
    arrays: dict[str, Any] = read_arrays(path, _ARRAYS, what="test set", again=_AGAIN)
    frames = len(arrays["frames"])
    if any(len(arrays[name]) != frames for name in _PER_FRAME):
        raise EmoInputError("test set", f"{path.name}, whose parts do not fit together", "a whole clip", _AGAIN)
    arrays["samples"] = _as_float(arrays["samples"])
    arrays["name"], arrays["voices"] = str(arrays["name"]), str(arrays["voices"])
    arrays["moving"] = bool(arrays["moving"])
    return Case(**arrays)
