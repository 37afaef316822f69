"""What a work folder says of itself: in, the folder; out, a `Journal`, or None where it is not ours.

`journal.json` lists the finished segments of one job, the state after the last of them, the hash of every input, the
output that they are for. It begins with our mark: a folder without it is somebody's, whatever else is in it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..lock import LOCK_FILE
from .disk import write_atomically
from .output import SOUND, picture_index

JOURNAL = "journal.json"
VERSION = 2
# All that a job ever puts into its folder, and what of it is still being written; nothing else is removed from it.
_NUMBER = r"(\d{5}|[1-9]\d{5,11})"  # as it is written with five places
_CLIP, _STATE = rf"clip-{_NUMBER}", rf"state-{_NUMBER}\.safetensors"
_OURS = re.compile(rf"({_CLIP}|{_STATE}|journal\.json|lock)(\.[0-9a-f]{{8}}\.part)?", re.ASCII)
JOINED = "joined"  # the finished output before it has its name: a file, or a folder of pictures
_MARK = b'{\n "made_by": "ComfyUI-EMO"'


@dataclass(frozen=True)
class Segment:
    """One finished clip: its file in the work folder, its length in bytes and in frames."""

    file: str
    size: int
    frames: int


@dataclass(frozen=True)
class Journal:
    """`output`: the file it is for, as seen from the folder that the work folder lies in. `inputs`: name to hash.
    `about`: what a person should know of it, such as the names of portrait and voice. `state`: a file, or None before
    the first clip. `damaged`: it is ours, but cannot be read."""

    output: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()
    state: str | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    damaged: bool = False

    @property
    def frames(self) -> int:
        return sum(segment.frames for segment in self.segments)

    def to_bytes(self) -> bytes:
        said = {
            "made_by": "ComfyUI-EMO",
            "version": VERSION,
            "output": self.output,
            "about": dict(self.about),
            "inputs": dict(self.inputs),
            "segments": [vars(segment) for segment in self.segments],
            "state": self.state,
        }
        return json.dumps(said, indent=1).encode()


def read_journal(folder: Path) -> Journal | None:
    """The journal of a work folder of this or an earlier version; None if the folder is not ours."""
    try:
        data = (folder / JOURNAL).read_bytes()
    except (OSError, ValueError):
        return None
    try:
        said: Any = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    if not data.startswith(_MARK) and not _of_version_1(said):
        # Cut off within the mark: the disk was full, or the power went, as it was begun.
        return Journal(damaged=True) if _MARK.startswith(data) else None
    try:
        return _journal(said)
    except (TypeError, KeyError, ValueError, AttributeError):
        return Journal(damaged=True)


def _of_version_1(said: Any) -> bool:
    """The first version had no mark; its journals are known by all that was in them."""
    return isinstance(said, dict) and said.keys() == {"version", "inputs", "segments", "state"} and said["version"] == 1


def _journal(said: dict[str, Any]) -> Journal:
    """Raises TypeError, KeyError, ValueError or AttributeError for what is none."""
    segments = tuple(Segment(**entry) for entry in said["segments"])
    for segment in segments:
        counts = (segment.size, segment.frames)
        if not re.fullmatch(_CLIP, segment.file, re.ASCII) or not all(map(_is_count, counts)):
            raise ValueError("no segment of ours")
    state = said["state"]
    if (state is None) != (not segments) or (state and not re.fullmatch(_STATE, state, re.ASCII)):
        raise ValueError("no state of ours")
    output = said.get("output", "")
    if said["version"] not in (1, VERSION) or not isinstance(output, str):
        raise ValueError("another version")
    inputs, about = ({str(k): str(v) for k, v in said.get(name, {}).items()} for name in ("inputs", "about"))
    return Journal(output, inputs, segments, state, about)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**40


def begin_journal(folder: Path, journal: Journal) -> None:
    """The first journal of a folder that has none; whoever was quicker has written it."""
    path = folder / JOURNAL
    try:
        file = path.open("xb")
    except FileExistsError:
        return
    try:
        with file:
            file.write(journal.to_bytes())
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_journal(folder: Path, journal: Journal) -> None:
    write_atomically(folder / JOURNAL, journal.to_bytes())


def own_files(folder: Path, journal: Journal) -> Iterator[Path]:
    """What a job of ours has put into a work folder, as far as its journal goes and a clip further (which was being
    written), the journal last: until it is gone, the folder is ours."""
    found = []
    for path in folder.iterdir():
        named = _OURS.fullmatch(path.name)
        listed = named and int(named[2] or named[3] or 0) <= len(journal.segments)
        if path.name == JOINED or (listed and not _is_folder(path)):
            found.append(path)
    yield from sorted(found, key=lambda path: (path.name == JOURNAL, path.name == LOCK_FILE, path.name))


def remove_own(path: Path) -> None:
    """One of `own_files`; of a link the link alone, of a folder the pictures that we made and then the folder, if
    nothing else is in it (OSError otherwise)."""
    if not _is_folder(path):
        path.unlink(missing_ok=True)
        return
    for picture in path.iterdir():
        if picture.name == SOUND or picture_index(picture.name) is not None:
            picture.unlink()
    path.rmdir()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
