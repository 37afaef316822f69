"""One job to a work folder, one run to a step of training: a lock that the system drops when the process dies, however
it dies.

In: the folder. Out: a `FolderLock` while nobody else has one. File systems that know no locks (some network shares)
give one to everybody.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

LOCK_FILE = "lock"
_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}


class FolderLock:
    """Held from `take_lock` until `release`, the last reference to it, or the end of the process."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def release(self) -> None:
        """Let others in; more than once does no harm."""
        self._file.close()

    def release_and_remove(self) -> None:
        """As `release`, and without leaving the file, if it is the empty one that a lock makes."""
        path = Path(self._file.name)
        try:
            with suppress(OSError):  # somebody removed the folder
                if not path.is_symlink() and path.stat().st_size == 0:
                    if sys.platform == "win32":  # where no open file can be removed, neither by us nor from others
                        self.release()
                    os.unlink(path)  # elsewhere before others are let in, who then see that it is gone
        finally:
            self.release()

    def is_there(self) -> bool:
        """Whether the file still has its name: who had the lock before may have removed it."""
        try:
            return os.path.samestat(os.stat(self._file.name), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False


def take_lock(folder: Path, name: str = LOCK_FILE) -> FolderLock | None:
    """The lock of `folder`, which must exist, or one of its several by `name`; None while somebody else has it."""
    file = (folder / name).open("ab")
    try:
        _lock(file)
    except OSError as error:
        if error.errno in _TAKEN:
            file.close()
            return None
    return FolderLock(file)


@contextmanager
def passing_lock(folder: Path, name: str) -> Iterator[bool]:
    """Whether nobody else has this lock of `folder`, which is then held while the block runs, and leaves no file."""
    lock = take_lock(folder, name)
    while lock is not None and not lock.is_there():
        lock.release()
        lock = take_lock(folder, name)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release_and_remove()


def is_locked(folder: Path) -> bool:
    """Whether somebody works in `folder` right now, or it is of a user whose files may not be touched; no file is
    made."""
    try:
        file = (folder / LOCK_FILE).open("r+b")
    except FileNotFoundError:
        return False
    except OSError:
        return True
    with file:
        try:
            _lock(file)
        except OSError as error:
            return error.errno in _TAKEN
    return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
