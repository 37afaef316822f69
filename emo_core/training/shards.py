"""A folder of clips that several processes make, shard by shard: what is finished stays, what was asked for otherwise
is refused. In: a folder, the options it is made with, its shards' jobs. Out: the folder as `training.clips` reads it.

Seeded: the same jobs give the same bytes, however many processes work, and a run that was killed goes on. Our mark in
the folder says what the clips were made for, so that those of other options are not taken for these.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from ..errors import EmoInputError
from ..files import shown
from ..owned import claimable, mark_of, refuse_impossible, write_mark
from .clips import read_index, shard_index, write_index
from .heads.job import HeadJob

Task = TypeVar("Task")
logger = logging.getLogger(__name__)
Key = tuple[object, ...]  # by which an entry and the job it came from are the same
_KEPT = "Use what it was made with, or choose another --root."


def shard_name(number: int) -> str:
    return f"shard-{number:04d}"


def claim_clips(folder: Path, kind: str, about: Mapping[str, float | str], *, older: Callable[[Path], bool]) -> None:
    """Raises EmoInputError for a folder that is not ours, or was made for something else, with both. `older`: whether
    a folder without our mark is one of an earlier version, whose clips are compared instead."""
    refuse_impossible(folder, name=kind)
    note = mark_of(folder, kind)
    if note is None:
        if not older(folder):
            claimable(folder, kind, name=kind)
        return
    other = [name for name in about if note.get(name) != about[name]]
    if other:
        found = ", ".join(f"{name} {note.get(name)!r:.50}" for name in other)
        wanted = ", ".join(f"{name} {_said(about[name])}" for name in other)
        remedy = "Ask for what the folder was made with, or choose another --root."
        raise EmoInputError(kind, f"clips of {found} in {shown(folder)}", wanted, remedy)


def _said(value: float | str) -> str:
    return repr(value) if isinstance(value, str) else f"{value:g}"


def refuse_other_jobs(
    folder: Path, kind: str, shards: Sequence[Sequence[Key]], *, may_stay: bool, some: bool = False
) -> None:
    """Raises EmoInputError where a finished shard has other clips than its jobs' keys, as with voices that have grown;
    where they `may_stay`, as nothing is left to be made, that is only told. `some`: a shard may lack clips of its jobs,
    which were thrown out."""
    if (beyond := shard_index(folder, shard_name(len(shards)))).exists():
        raise EmoInputError(kind, f"{shown(beyond)}", f"{len(shards)} shards", _KEPT)
    for number, keys in enumerate(shards):
        index = shard_index(folder, shard_name(number))
        if not index.exists():
            continue
        made = [_entry_key(entry) for entry in read_index(index)]
        if made != ([key for key in keys if key in set(made)] if some else list(keys)):
            found = f"{shown(index)}, which was drawn from other voices or options"
            if not may_stay:
                raise EmoInputError(kind, found, "the clips that are asked for", _KEPT)
            logger.warning("%s: %s; they are used as they are", kind, found)
            return


def job_key(job: HeadJob) -> Key:
    return job.identity, job.split, job.style, job.utterance, len(job.loudness)


def _entry_key(entry: Mapping[str, Any]) -> Key:
    return entry["identity"], entry["split"], entry["style"], entry["utterance"], entry["frames"]


def make_shards(
    folder: Path, kind: str, about: Mapping[str, float | str], tasks: Sequence[Task],
    make: Callable[[Task], list[dict[str, Any]]], *, processes: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Make all tasks, one shard each, and the index after every one, so that what is there can be read at once. `make`
    gives a shard's entries, also of one that is finished. Logs how many frames a second came."""
    folder.mkdir(parents=True, exist_ok=True)
    write_mark(folder, kind, **about)
    done = sum(shard_index(folder, shard_name(number)).exists() for number in range(len(tasks)))
    start, new = time.monotonic(), 0
    entries: list[dict[str, Any]] = []

    def collect(number: int, made: list[dict[str, Any]]) -> None:
        nonlocal new, entries
        entries += made
        if number >= done:
            new += sum(entry["frames"] for entry in made)
        logger.info("shard %d of %d", number + 1, len(tasks))
        write_index(folder, entries)

    if processes <= 1:
        for number, made in enumerate(map(make, tasks)):
            collect(number, made)
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            for number, made in enumerate(pool.map(make, tasks)):
                collect(number, made)
    seconds = time.monotonic() - start  # the start of the processes included, a few seconds
    logger.info("%d frames made in %.0f s, %.0f frames/s, by %d processes", new, seconds, new / seconds, processes)
    return entries
