"""Unfinished videos: in, a folder; out, the work folders in it that jobs of ours have left, or are at.

They are kept until somebody asks for them to be cleared; then only what a job has put there is removed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import is_folder, shown
from ..lock import is_locked
from ..owned import free_path
from .journal import JOINED, Journal, own_files, read_journal, remove_own

log = logging.getLogger(__name__)

SUFFIX = ".part"


@dataclass(frozen=True)
class Unfinished:
    """A work folder of ours and what it says of itself; `running`: somebody is at it right now, or it is of another
    user and may not be touched."""

    folder: Path
    journal: Journal
    running: bool

    @property
    def output(self) -> Path:
        """The file that it is to become."""
        return self.folder.parent / (self.journal.output or self.folder.name.removesuffix(SUFFIX))

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        total = 0
        with contextlib.suppress(OSError):  # it may end, and be gone, at any moment
            for entry in os.scandir(self.folder):
                with contextlib.suppress(OSError):
                    total += entry.stat().st_size
        return total

    def __str__(self) -> str:
        journal = self.journal
        done = "damaged" if journal.damaged else f"{journal.frames} frames in finished clips"
        state = ", in use right now, or somebody else's" if self.running else ""
        about = ", ".join(f"{name} {value}" for name, value in journal.about.items())
        changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(_changed_at(self.folder)))
        lines = [f"{shown(self.output)}: {done}, {size_text(self.size)}, {changed}{state}"]
        lines += [f"  of {about}"] if about else []
        return "\n".join([*lines, f"  in {shown(self.folder)}"])


def find_unfinished(folder: str | Path) -> list[Unfinished]:
    """The unfinished work that lies in a folder, oldest first."""
    found = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (OSError, ValueError):
        return []
    for entry in entries:
        path = Path(entry.path)
        with contextlib.suppress(OSError):
            if entry.name.endswith(SUFFIX) and not entry.is_symlink() and entry.is_dir():
                journal = read_journal(path)
                if journal is not None:
                    found.append(Unfinished(path, journal, is_locked(path)))
    return sorted(found, key=lambda item: _changed_at(item.folder))


def unfinished_near(output: Path) -> list[Unfinished]:
    """The unfinished work that lies beside an output; of one that is a folder, what lies in it, and beside it what is
    to become it: the pictures of an earlier video are a folder too."""
    if not is_folder(output):
        return find_unfinished(output.parent)
    beside = [item for item in find_unfinished(output.absolute().parent) if same_place(item.output, output)]
    return sorted([*find_unfinished(output), *beside], key=lambda item: _changed_at(item.folder))


def same_place(one: Path, other: Path) -> bool:
    """Whether two outputs are one, however they are written."""
    return os.path.normcase(one.absolute()) == os.path.normcase(other.absolute())


def free_output(path: Path, work: Path | None = None) -> Path:
    """`path`, or the first numbered name beside it, that no file has and no running job is to become; work folders lie
    in `work` (where `path` lies)."""
    taken = find_unfinished(path.parent if work is None else work)
    return free_path(path, [item.output for item in taken if item.running])


def clear_unfinished(items: Sequence[Unfinished]) -> list[Unfinished]:
    """Remove what nobody is at; those that were removed."""
    return [item for item in items if not item.running and clear(item.folder)]


def clear(folder: Path) -> bool:
    """Remove what a job has put into its work folder, and the folder if nothing else is in it: whether it is gone.
    A folder without our journal is not ours, whatever its files are called: nothing of it is removed."""
    journal = read_journal(folder)
    if journal is None:
        return not folder.exists()
    try:
        for path in own_files(folder, journal):
            with contextlib.suppress(OSError) if path.name == JOINED else contextlib.nullcontext():
                remove_own(path)
        folder.rmdir()
    except FileNotFoundError:
        return not folder.exists()
    except OSError as error:
        log.warning("%s could not be removed: %s", shown(folder), (error.strerror or str(error)).lower())
        return False
    return True


def size_text(size: int) -> str:
    """Bytes for a person."""
    return f"{size / 2**20:.1f} MB" if size >= 2**19 else f"{size / 2**10:.0f} kB"


def _changed_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
