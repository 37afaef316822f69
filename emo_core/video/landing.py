"""A way to another disk: in, a finished file and the folder that it is for; out, a copy that can be renamed there.

The copy is made in a work folder of the job's own in that folder: it is known to be ours, `animate --unfinished` lists
it where a run was killed, and the same job, gone on with, finds it by its name and clears it.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from types import TracebackType

from ..errors import EmoInputError
from ..files import fitting_name
from .job import Job
from .unfinished import SUFFIX


class Landing:
    """The work folders on other disks of one job, while it puts its output there; none where nothing crosses."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._there: dict[Path, Job] = {}

    def __enter__(self) -> Landing:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for there in self._there.values():
            there.remove()

    def copied(self, file: Path, folder: Path) -> Path:
        """A copy of `file` on the disk of `folder`; the one before, if nobody has taken it, is gone."""
        if folder not in self._there:
            self._there[folder] = self._begun(folder)
        return Path(shutil.copyfile(file, self._there[folder].joined()))

    def _begun(self, folder: Path) -> Job:
        there = Job(self._job.path, folder / _name(self._job), self._job.inputs, about=self._job.about)
        try:
            there.begin()
        except EmoInputError:
            with contextlib.suppress(OSError):  # a disk so full that it took a folder and no journal
                there.folder.rmdir()
            raise
        there.claim()
        return there


def _name(job: Job) -> str:
    """The same whatever the output is called by the time that the job is gone on with."""
    name, dot, key = job.folder.name.removesuffix(SUFFIX).rpartition(".")
    return fitting_name(name, f"{dot}{key}.moving{SUFFIX}")
