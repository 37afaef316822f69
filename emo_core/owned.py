"""What is ours to replace: in, a place that is to be written to; out, leave to do so, or the sentence why not.

Whatever lies where we want to write is somebody's, unless it carries our mark: a folder our MARK, a work folder its
journal, a checkpoint our metadata. Inputs are never outputs.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import EmoInputError
from .files import NAME_BYTES, exists, fitting_name, is_file_or_folder, is_folder, is_name_on_windows, shown
from .whole import write_text_whole

MARK = "made-by-emo.json"
_OTHER = "Choose another name, or move what lies there."
_OTHER_FOLDER = "Choose another folder, or move what lies in this one."
_CLOSED = "Choose another place, or see who may write there."
_PLACE = "a place that can be written to"
_MAKER = "ComfyUI-EMO"


def refuse_impossible(path: Path, *, name: str = "output") -> None:
    """Raises EmoInputError for a path at which nothing can be made, whoever asks: a name that is too long, a link that
    leads nowhere, a device, a file or a closed folder above it."""
    _refuse_unreachable(path, name)
    said, allowed = shown(path), _PLACE
    above = next((folder for folder in (path, *path.parents) if os.path.lexists(folder)), Path())
    if not exists(above):
        raise EmoInputError(name, f"{shown(above)}, a link that leads nowhere", allowed, _OTHER)
    if not is_file_or_folder(above):
        raise EmoInputError(name, f"{shown(above)}, a pipe or a device", allowed, _OTHER)
    if above != path and not (is_folder(above) and os.access(above, os.W_OK | os.X_OK)):
        what, remedy = ("which may not be written to", _CLOSED) if is_folder(above) else ("a file", _OTHER)
        raise EmoInputError(name, f"{said} in {shown(above)}, {what}", allowed, remedy)


def _refuse_unreachable(path: Path, name: str) -> None:
    """Raises EmoInputError for a path of which the system does not even say whether something lies there."""
    said = shown(path)
    if "\0" in str(path) or any(len(os.fsencode(part)) > NAME_BYTES for part in path.parts):
        raise EmoInputError(name, said, f"names of at most {NAME_BYTES} bytes, without zeros", "Choose a shorter name.")
    if len(path.parts) > 1 and path.parts[0].startswith("~") and not os.path.lexists(path.parts[0]):
        found = f"{said}, in the home of a user who is not known"
        raise EmoInputError(name, found, _PLACE, "Write the whole path, or ./ before it.")
    parts = path.parts[1:] if path.anchor else path.parts
    if sys.platform == "win32" and not all(part == ".." or is_name_on_windows(part) for part in parts):
        allowed = "names without <>:\"|?*, that end in no dot or space and are no device's (con, nul, com1 ...)"
        raise EmoInputError(name, said, allowed, "Choose another name.")
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            found = f"{said}, in a folder that may not be entered"
            raise EmoInputError(name, found, _PLACE, "Choose another place.") from error
        if error.errno == errno.ENAMETOOLONG:
            raise EmoInputError(name, f"{said}, which is too long", _PLACE, "Choose a shorter path.") from error
        if error.errno == errno.ELOOP:
            raise EmoInputError(name, f"{said}, through links that lead in a circle", _PLACE, _OTHER) from error


def refuse_existing(path: Path, *, overwrite: bool, name: str = "output") -> None:
    """Raises EmoInputError for a file that is there and may not be replaced, for a folder in any case, and for a path
    that cannot be looked up."""
    _refuse_unreachable(path, name)
    if is_folder(path):
        raise EmoInputError(name, f"the folder {shown(path)}", "the name of a file", _OTHER)
    if not overwrite and (exists(path) or os.path.islink(path)):
        remedy = "Choose another name, or --overwrite to replace it."
        raise EmoInputError(name, f"{shown(path)}, which exists", "a name that is free", remedy)


def refuse_inputs(output: Path, inputs: Mapping[str, Path | None], *, name: str = "output") -> None:
    """Raises EmoInputError if `output` is one of the input files, under whatever name, or the folder that one is in,
    or cannot be looked up."""
    _refuse_unreachable(output, name)
    for what, path in inputs.items():
        if path is None or not exists(path):
            continue
        if exists(output) and os.path.samefile(output, path):
            found = f"{shown(output)}, which is also the {what}"
            raise EmoInputError(name, found, "another file than every input", "Choose another name for the output.")
        if is_folder(output) and output.resolve() in path.resolve().parents:
            found = f"{shown(output)}, the folder that the {what} lies in"
            raise EmoInputError(name, found, "a folder without inputs", "Choose another name for the output.")


def claim_folder(folder: Path, kind: str, *, name: str = "output") -> None:
    """Make `folder`, or take it over if it is empty or was made by us for the same `kind` of files; it then carries our
    mark. Raises EmoInputError as `claimable`."""
    if claimable(folder, kind, name=name):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_mark(folder, kind)
    except OSError as error:
        found = f"{shown(folder)}, which cannot be written to ({(error.strerror or str(error)).lower()})"
        raise EmoInputError(name, found, _PLACE, _CLOSED) from error


def claimable(folder: Path, kind: str, *, name: str = "output") -> bool:
    """Whether `folder` carries our mark for this `kind`; False if it is empty or not there. Raises EmoInputError for a
    folder with anything else in it or that cannot be looked into, and for a file of that name."""
    _refuse_unreachable(folder, name)
    if exists(folder) and not is_folder(folder):
        raise EmoInputError(name, f"{shown(folder)}, a file", "the name of a folder", _OTHER)
    if mark_of(folder, kind) is not None:
        return True
    try:
        filled = is_folder(folder) and any(folder.iterdir())
    except OSError as error:
        found = f"the folder {shown(folder)}, which cannot be looked into ({(error.strerror or str(error)).lower()})"
        raise EmoInputError(name, found, _PLACE, "Choose another place.") from error
    if filled:
        found = f"the folder {shown(folder)}, which holds files that are not ours"
        raise EmoInputError(name, found, "a new folder, or an empty one", _OTHER_FOLDER)
    return False


def mark_of(folder: Path, kind: str) -> dict[str, Any] | None:
    """What our mark in a folder says; None without one, or with that of another kind."""
    try:
        said = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(said, dict) and said.get("made_by") == _MAKER and said.get("kind") == kind
    return said if ours else None


def write_mark(folder: Path, kind: str, **about: object) -> None:
    """Mark a folder as ours, with what a person or a later run should know of it."""
    text = json.dumps({"made_by": _MAKER, "kind": kind, **about}, indent=1)
    write_text_whole(folder / MARK, f"{text}\n")  # a mark that is cut short would be nobody's


def free_path(path: Path, taken: Collection[Path] = ()) -> Path:
    """`path`, or the first of name-2, name-3 ... at which nothing lies and that is not one of `taken`; the name is cut
    to what a disk takes."""
    return next(free for free in _numbered(path) if not (exists(free) or os.path.islink(free) or free in taken))


def _numbered(path: Path) -> Iterator[Path]:
    yield path.with_name(fitting_name(path.stem, path.suffix))
    number = 2
    while True:
        yield path.with_name(fitting_name(path.stem, f"-{number}{path.suffix}"))
        number += 1
