"""Clips with their truth: the one record that all makers of training data write, and the one reader of it.

In: `Clip`s from whoever draws, warps or cuts them. Out: a folder with `clips.json`, a list of entries {file, start,
frames, identity, split, style, utterance, ...}, and per shard one .npy for each part of the record (`LAYOUT`), read by
memmap. What made a clip is told by its entry alone ("kind"); a part that is not known of it is None. Folders of earlier
versions, which held rendered heads, are read as they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EmoInputError
from ..files import exists, shown
from ..whole import write_text_whole, written_whole
from .records import fits, read_array, read_json

Array = NDArray[np.float32]

CLIPS = "clips.json"
HEADS, PUPPETS = "heads", "puppets"  # kinds of clips; entries of earlier versions name none: heads
CELL = 4  # pixels along a side of a cell of `flow` and `visible`
ACTIONS = (  # the columns of `Clip.actions`: ARKit's blend shapes, as anny orders them
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """Pictures and truth of f frames of H x W. Boxes are (left, top, right, bottom) in pixels of the frame.

    `frames` (f, H, W, 3) uint8; `mouth_open` (f,): visible inside of the mouth (cavity, tongue, teeth) over the squared
    width of the frame, in per mille; `jaw` (f,) weight of jawOpen; `rotation_deg` (f, 3) pitch, yaw, roll away from how
    the reference holds the head; `speed_deg` (f,) degrees per frame.

    Where it is known: `reference` (H, W, 3) uint8, the untouched portrait, under the frames' light; `marks` (f, 468, 2)
    mesh points in pixels; `flow` (f, H / 4, W / 4, 2): for the centre of each cell the displacement (dx, dy), as a
    share of the picture's side, to where in `reference` its colour comes from; `visible` (f, H / 4, W / 4): 1 where
    the reference shows what the frame shows, 0 where it must be painted (inside of the mouth, closed lids, what a turn
    uncovers); `actions` (f, 52) in the order of ACTIONS.
    """

    frames: NDArray[np.uint8]
    face_box: Array
    mouth_box: Array
    eye_box: Array
    mouth_open: Array
    jaw: Array
    rotation_deg: Array
    speed_deg: Array
    reference: NDArray[np.uint8] | None = None
    marks: Array | None = None
    flow: NDArray[np.floating] | None = None
    visible: Array | None = None
    actions: NDArray[np.floating] | None = None


# Columns of the table of numbers that every clip has.
COLUMNS: dict[str, slice | int] = {
    "face_box": slice(0, 4), "mouth_box": slice(4, 8), "eye_box": slice(8, 12), "mouth_open": 12, "jaw": 13,
    "rotation_deg": slice(14, 17), "speed_deg": 17,
}  # fmt: skip
_WIDTH = 18
# How each part lies in its file: type of the numbers, dimensions, and the letters numpy gives the type. All have a row
# per frame but the reference, which has one per clip.
LAYOUT: dict[str, tuple[type, int, str]] = {
    "frames": (np.uint8, 4, "u"), "truth": (np.float32, 2, "f"), "reference": (np.uint8, 4, "u"),
    "marks": (np.float32, 3, "f"), "flow": (np.float16, 4, "f"), "visible": (np.uint8, 3, "u"),
    "actions": (np.float16, 2, "f"),
}  # fmt: skip
KNOWN = tuple(field.name for field in fields(Clip) if field.default is None)  # the parts that a clip may lack
_ENTRY = {"file": str, "start": int, "frames": int, "identity": int, "split": str, "style": str, "utterance": str}
_AGAIN = "Remove the files of that shard and run the step that made it again: it makes what is missing."
_OPEN = 100  # shards of which the reader keeps the maps: each costs the system up to 7 of its about 1000 open files
_HEADER = 128  # bytes, of every .npy that is written here: numpy's own for four dimensions


class ShardWriter:
    """Writes one shard of clips as they come, of one size and with the same known parts; whole when the block ends,
    absent if it fails. `entries` are then also beside the arrays, for those who collect them."""

    def __init__(self, folder: Path, name: str, *, kind: str) -> None:
        self.folder, self.name, self.kind = folder, name, kind
        self.entries: list[dict[str, Any]] = []
        self._files = ExitStack()
        self._parts: dict[str, _GrowingArray] = {}

    def __enter__(self) -> ShardWriter:
        self._files.__enter__()
        return self

    def add(self, clip: Clip, **about: object) -> None:
        """One clip more; `about`: identity, split, style, utterance, and what else its entry should say."""
        rows: dict[str, NDArray[Any]] = {"frames": clip.frames, "truth": _table(clip)}
        known = [name for name in KNOWN if getattr(clip, name) is not None]
        rows |= {name: getattr(clip, name) for name in known}
        if "reference" in rows:
            rows["reference"] = rows["reference"][None]
        if "visible" in rows:
            rows["visible"] = np.round(np.clip(rows["visible"], 0, 1) * 255)
        if not self._parts:
            self._parts = {name: self._create(name) for name in rows}
        if list(rows) != list(self._parts):
            raise ValueError(f"a clip with {list(rows)} in a shard of {list(self._parts)}")
        entry = {
            "file": self.name, "start": self._parts["frames"].rows, "frames": len(clip.frames), **about,
            "speed": float(clip.speed_deg.mean()), "kind": self.kind, "known": known, "clip": len(self.entries),
        }  # fmt: skip
        for name, part in self._parts.items():
            part.append(rows[name])
        self.entries.append(entry)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for part in self._parts.values():
                part.finish()
        self._files.__exit__(kind, error, trace)
        if kind is None:
            write_text_whole(shard_index(self.folder, self.name), json.dumps(self.entries))

    def _create(self, name: str) -> _GrowingArray:
        part = self._files.enter_context(written_whole(self.folder / f"{self.name}.{name}.npy"))
        file = self._files.enter_context(part.open("r+b"))  # closed before it gets its name: so Windows wants it
        return _GrowingArray(file, LAYOUT[name][0])


class _GrowingArray:
    """An .npy whose number of rows is known only at the end; in `numpy.lib.format`'s version 1.0."""

    def __init__(self, file: IO[bytes], dtype: type) -> None:
        self.file, self.dtype, self.rows = file, np.dtype(dtype), 0
        self.shape: tuple[int, ...] | None = None
        file.write(b" " * _HEADER)

    def append(self, rows: NDArray[Any]) -> None:
        rows = np.ascontiguousarray(rows, dtype=self.dtype)
        self.shape = self.shape or rows.shape[1:]
        if rows.shape[1:] != self.shape:
            raise ValueError(f"rows of {rows.shape[1:]} among rows of {self.shape}")
        self.file.write(rows.data)
        self.rows += len(rows)

    def finish(self) -> None:
        said: dict[str, object] = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False}
        said["shape"] = (self.rows, *(self.shape or ()))
        magic = np.lib.format.magic(1, 0)
        text = repr(said).encode("latin1").ljust(_HEADER - len(magic) - 3) + b"\n"
        self.file.seek(0)
        self.file.write(magic + len(text).to_bytes(2, "little") + text)


def _table(clip: Clip) -> Array:
    table = np.empty((len(clip.frames), _WIDTH), np.float32)
    for name, columns in COLUMNS.items():
        table[:, columns] = getattr(clip, name)
    return table


def shard_index(folder: Path, name: str) -> Path:
    """The entries of one shard; it exists once the shard is finished."""
    return folder / f"{name}.json"


def write_index(folder: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """The entries of all shards, by which a folder is read."""
    write_text_whole(folder / CLIPS, json.dumps(entries))


def read_index(path: Path) -> list[dict[str, Any]]:
    """The entries of clips.json or of one shard."""
    clips: list[dict[str, Any]] = read_json(path, [_ENTRY], what="clips", again=_AGAIN)
    for clip in clips:
        clip.setdefault("kind", HEADS)
        clip.setdefault("known", [])
        clip.setdefault("clip", 0)
        if not _possible(clip):
            raise EmoInputError("clips", f"{shown(path)} with clips that cannot be", "clips of its own files", _AGAIN)
    return clips


def _possible(clip: Mapping[str, Any]) -> bool:
    typed = fits(clip, {"kind": str, "known": [str], "clip": int}) and set(clip["known"]) <= set(KNOWN)
    return typed and Path(clip["file"]).name == clip["file"] and min(clip["start"], clip["clip"]) >= 0 < clip["frames"]


class ClipDataset:
    """The clips of one folder or of several, read as one: `clips` (their entries), `len`, `[i]` -> Clip by memmap.

    `split` keeps the clips of that split. EmoInputError for a folder without clips and for one that is damaged.
    """

    def __init__(self, folders: Path | str | Sequence[Path | str], split: str | None = None) -> None:
        several = [folders] if isinstance(folders, (str, Path)) else list(folders)
        self.clips: list[dict[str, Any]] = []
        self._folders: list[Path] = []  # of each clip
        self._open: dict[Path, dict[str, NDArray[Any]]] = {}
        for folder in map(Path, several):
            if not exists(folder / CLIPS):
                found = f"no {CLIPS} in {shown(folder)}"
                allowed = "a folder that `train heads` or `train puppets` wrote"
                raise EmoInputError("clips", found, allowed, "Run that step first.")
            kept = [clip for clip in read_index(folder / CLIPS) if split is None or clip["split"] == split]
            self.clips += kept
            self._folders += [folder] * len(kept)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> Clip:
        entry = self.clips[i]
        parts = self._shard(self._folders[i] / entry["file"], entry["known"])
        rows = slice(entry["start"], entry["start"] + entry["frames"])
        if any(len(part) < (entry["clip"] + 1 if n == "reference" else rows.stop) for n, part in parts.items()):
            raise EmoInputError("clips", f"{entry['file']}, which is shorter than {CLIPS} says", "all of it", _AGAIN)
        known = {name: parts[name][rows] for name in entry["known"] if name != "reference"}
        if "reference" in entry["known"]:
            known["reference"] = parts["reference"][entry["clip"]]
        if "visible" in known:
            known["visible"] = np.asarray(known["visible"], np.float32) / 255
        truth = {name: parts["truth"][rows, columns] for name, columns in COLUMNS.items()}
        return Clip(frames=parts["frames"][rows], **truth, **known)

    def _shard(self, base: Path, known: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The maps of a shard's files, of which the last _OPEN stay open."""
        names = ("frames", "truth", *known)
        if base not in self._open or any(name not in self._open[base] for name in names):
            parts = {name: _read_part(base, name) for name in names}
            _refuse_misshapen(base, parts)
            while len(self._open) >= _OPEN:
                del self._open[next(iter(self._open))]
            self._open[base] = parts
        return {name: self._open[base][name] for name in names}


def _read_part(base: Path, name: str) -> NDArray[Any]:
    _, dimensions, letters = LAYOUT[name]
    return read_array(base.with_name(f"{base.name}.{name}.npy"), (letters, dimensions), what="clips", again=_AGAIN)


def _refuse_misshapen(base: Path, parts: Mapping[str, NDArray[Any]]) -> None:
    """Raises EmoInputError for parts of other sizes than their frames'."""
    height, width = parts["frames"].shape[1:3]
    cells = (math.ceil(height / CELL), math.ceil(width / CELL))
    wanted: dict[str, tuple[int, ...]] = {
        "frames": (height, width, 3), "reference": (height, width, 3), "marks": (468, 2), "flow": (*cells, 2),
        "visible": cells, "actions": (len(ACTIONS),),
    }  # fmt: skip
    for name, part in parts.items():
        if part.shape[1:] != wanted.get(name, part.shape[1:]) or (name == "truth" and part.shape[1] < _WIDTH):
            found = f"{name} of {part.shape[1:]} in {shown(base)}"
            raise EmoInputError("clips", found, f"{wanted.get(name, (_WIDTH,))}, as its frames have", _AGAIN)
