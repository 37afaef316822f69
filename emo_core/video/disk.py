"""Writing that is whole or absent, and what a full or closed disk means in a user's words."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import EmoInputError
from ..whole import CLOSED_DISK, FULL_DISK


def write_atomically(path: Path, data: bytes) -> None:
    """Write under a temporary name, flush to the disk, rename: a reader finds the whole file or none."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:  # "x": never what lies there already, or what that leads to
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def explain_disk_errors(path: Path, finished_clips: int) -> Iterator[None]:
    """Turn what the system says about a full or unwritable disk into an EmoInputError about `path`.

    PyAV's errors carry the same numbers but are not all OSErrors, hence the look at `errno`.
    """
    try:
        yield
    except EmoInputError:
        raise
    except Exception as error:
        number = getattr(error, "errno", None)
        if number in FULL_DISK:
            kept = f"the {finished_clips} finished clips are kept" if finished_clips else "nothing is lost"
            kept = "the finished clip is kept" if finished_clips == 1 else kept
            remedy = f"Free some space and start the same job again; {kept}."
            raise EmoInputError("output", f"a full disk at {str(path)!r} ({_free(path)})", "room", remedy) from error
        # EINVAL: characters that a disk does not take; of PyAV's errors, which are none of the system's, anything.
        if number in CLOSED_DISK or (number == errno.EINVAL and isinstance(error, OSError)):
            reason = os.strerror(number).lower()
            remedy = "See that it is there and may be written to, or choose another, and start the same job again."
            found = f"{str(path)!r}: {reason}"
            raise EmoInputError("output", found, "a folder that can be written to", remedy) from error
        raise


def _free(path: Path) -> str:
    for folder in path.parents:
        if folder.is_dir():
            return f"{shutil.disk_usage(folder).free / 2**20:.0f} MB free"
    return "free space unknown"
