"""Paths as users give them: in, a path; out, the path, or the sentence that says why it is no file that can be read.

The operating system has more ways to say no than "not found" (names too long, folders that may not be entered, homes of
nobody, broken links, loops of links); all of them are a sentence about the input that named the path.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import stat
from pathlib import Path

from .errors import EmoInputError

_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9¹²³]) *(\.|$)", re.IGNORECASE)
NAME_BYTES = 255  # the longest name of a file on every common file system, in bytes of UTF-8


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path` with ~ and ~user replaced by that home; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def output_named(text: str) -> Path:
    """As `expanded`, for a command line; argparse's error for no name, which would be the folder that one is in."""
    if not text.strip():
        raise argparse.ArgumentTypeError("no name (. is the folder that you are in)")
    return expanded(text)


def shown(path: str | os.PathLike[str]) -> str:
    """A path for a message: bytes that are no text are written as \\xNN, and a very long name is cut."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if len(text) <= 300 else f"{text[:140]} ... {text[-140:]}"


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether something lies there; False for every path that cannot be."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder lies there; False for every path that cannot be, or that may not be looked up."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_file_or_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a file or a folder lies there, and not a pipe or a device, which to open may mean to wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def readable_file(
    path: str | os.PathLike[str], *, name: str, allowed: str, again: str = "Export or download it again."
) -> Path:
    """`path`, if a file with something in it lies there that may be read. `name` is the input that named it, `allowed`
    what it should have been. Raises EmoInputError for everything else."""
    path = Path(path)
    if path == Path():
        raise EmoInputError(name, "an empty path (or '.', a folder)", allowed, "Name the file itself.")
    if exists(path) and not is_file_or_folder(path):
        raise EmoInputError(name, f"{shown(path)}, a pipe or a device", allowed, "Save it as a file first.")
    try:
        with path.open("rb") as file:
            if file.read(1):
                return path
    except FileNotFoundError as error:
        raise EmoInputError(name, f"no file at {shown(path)}", allowed, "Check the path.") from error
    except IsADirectoryError as error:
        raise EmoInputError(name, f"the folder {shown(path)}", allowed, "Name the file itself.") from error
    except ValueError as error:  # a zero byte in the name
        raise EmoInputError(name, f"{str(path)!r}, which is no path", allowed, "Check the path.") from error
    except OSError as error:
        if error.errno == errno.EACCES and is_folder(path):  # what Windows says of a folder
            raise EmoInputError(name, f"the folder {shown(path)}", allowed, "Name the file itself.") from error
        found = f"{shown(path)}, which cannot be opened ({(error.strerror or str(error)).lower()})"
        raise EmoInputError(name, found, allowed, "Check the path, and who may read it.") from error
    raise EmoInputError(name, f"an empty file, {shown(path.name)}", allowed, again)


def is_name_on_windows(part: str) -> bool:
    """Whether a part of a path can be the name of a file there: none of a device (what is written to nul.mp4 is gone),
    none with a colon (behind which it would be hidden in another file), none whose end the system leaves away."""
    return not (
        _DEVICE.match(part) or set(part) & set('<>:"|?*') or part[-1:] in (" ", ".") or min(part, default=" ") < " "
    )


def fitting_name(stem: str, rest: str, *, limit: int = NAME_BYTES) -> str:
    """`stem` + `rest` as the name of a file: the stem is cut where both together are longer than a name may be."""
    room = limit - len(os.fsencode(rest))
    encoded = os.fsencode(stem)
    return stem + rest if len(encoded) <= room else encoded[:room].decode("utf-8", "ignore") + rest


def media_name(path: str | os.PathLike[str]) -> str:
    """`path` as FFmpeg takes it for a file whatever is in it: a colon would end the name of a protocol."""
    return f"file:{os.fspath(path)}"
