"""Files that are whole or absent. In: a path. Out: another one to write to, of a name that nobody has, which takes the
path's place at the end. Whether it may is asked before (`owned`). A disk that is full or closed is told by name."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import EmoInputError
from .files import fitting_name, shown

# EFBIG: a file system or a quota that takes no larger file (FAT32 stops at 4 GB); for the user the same as a full disk.
FULL_DISK = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
CLOSED_DISK = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.EISDIR, errno.EEXIST}
CLOSED_DISK |= {errno.ENAMETOOLONG, errno.ELOOP, errno.EIO}
_UNFINISHED = ".part"
_FROM_RUST = re.compile(r"\(os error (\d+)\)")  # how safetensors says it


@contextmanager
def explain_unwritable(path: Path) -> Iterator[None]:
    """What the system says of a disk that is full or closed, as EmoInputError about `path`; errors of other files than
    those beside or in it go on as they are."""
    try:
        yield
    except Exception as error:
        number = _number_of(error, path)
        if number is None:
            raise
        found = f"{shown(path)}, which cannot be written ({os.strerror(number).lower()})"
        remedy = "Free some space, or choose another place, and start the same again."
        raise EmoInputError("output", found, "a place with room that can be written to", remedy) from error


def _number_of(error: Exception, path: Path) -> int | None:
    """The system's number, if a disk would not take what was written to `path`."""
    said = _FROM_RUST.search(str(error)) if type(error).__name__ == "SafetensorError" else None
    number = int(said[1]) if said else error.errno if isinstance(error, OSError) else None
    if number in FULL_DISK:
        return number
    return number if number in CLOSED_DISK and not _is_elsewhere(error, path) else None


def _is_elsewhere(error: Exception, path: Path) -> bool:
    """Whether an error names a file that is neither beside `path`, nor in it, nor a folder above."""
    named = getattr(error, "filename", None)
    if not isinstance(named, str | bytes | os.PathLike):
        return False
    where = Path(os.fsdecode(named))
    return where not in path.parents and path.parent not in where.parents


def refuse_folder(path: Path) -> None:
    """Raises EmoInputError where a file is to lie in the end and a folder lies now: better before long work than
    after."""
    if path.is_dir() and not path.is_symlink():
        found = f"{shown(path)}, which is a folder"
        raise EmoInputError("output", found, "a file of ours, or nothing", "Move the folder, or choose another place.")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A new empty file beside `path`, which becomes `path` when the block ends, and goes if the block fails. A link at
    `path` is replaced itself, never what it leads to."""
    refuse_folder(path)
    part = path.with_name(fitting_name(path.name, f".{secrets.token_hex(4)}{_UNFINISHED}"))
    with explain_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.open("xb").close()  # "x": never what lies there already
        try:
            yield part
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def write_text_whole(path: Path, text: str) -> None:
    """`text` as the file `path`, in UTF-8."""
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")
