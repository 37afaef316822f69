"""A folder of puppets' clips: people and jobs in, clips with their truth out, by several processes.

In: folders of portraits, jobs (who, how, which mouth track). Out: a folder as `training.clips` reads it, with
`photographs.json`. A clip in which the face mesh sees something else than its truth is thrown out.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import EmoInputError
from ...files import shown
from ..clips import PUPPETS, Clip, ShardWriter, read_index, shard_index
from ..heads.job import HeadJob
from ..heads.performance import perform
from ..shards import claim_clips, job_key, make_shards, refuse_other_jobs, shard_name
from .check import why_thrown_out
from .people import LIST, gather
from .photograph import Photograph, cut_texture
from .puppet import Puppet
from .variation import draw_variation, varied
from .warp import SAMPLES

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Shard:
    folder: Path
    name: str
    jobs: tuple[tuple[Photograph, HeadJob], ...]
    size: int
    fps: float


def find_people(
    folder: Path, pictures: Sequence[Path], *, about: Mapping[str, float | str], processes: int
) -> list[Photograph]:
    """Who the puppets of `folder` are, after it was asked whether it is ours and was made with these options."""
    claim_clips(folder, PUPPETS, about, older=_only_looked_at)
    folder.mkdir(parents=True, exist_ok=True)
    return gather(pictures, folder / LIST, processes=processes)


def _only_looked_at(folder: Path) -> bool:
    """Whether a run of ours was stopped before its first shard."""
    return folder.is_dir() and [path.name for path in folder.iterdir()] == [LIST]


def make_dataset(
    folder: Path, people: Sequence[Photograph], jobs: Sequence[HeadJob], *, size: int, fps: float = 25.0,
    processes: int = 1, clips_per_shard: int = 32, about: Mapping[str, float | str],
) -> Path:  # fmt: skip
    """Make all jobs into `folder`; shards already finished by an earlier, interrupted call are kept. EmoInputError for
    a size that is none, and for a folder of other jobs."""
    if size < 64 or size % 16:
        raise EmoInputError("--size", f"{size}", "a multiple of 16, at least 64", "Use 128, 256 or 512.")
    by_person = {photograph.person: photograph for photograph in people}
    pairs = [(by_person[job.identity], job) for job in jobs]
    shards = [pairs[first : first + clips_per_shard] for first in range(0, len(pairs), clips_per_shard)]
    keys = [[job_key(job) for _, job in shard] for shard in shards]
    left = [number for number in range(len(shards)) if not shard_index(folder, shard_name(number)).exists()]
    refuse_other_jobs(folder, PUPPETS, keys, may_stay=not left, some=True)
    tasks = [_Shard(folder, shard_name(number), tuple(shard), size, fps) for number, shard in enumerate(shards)]
    entries = make_shards(folder, PUPPETS, about, tasks, make_shard, processes=processes)
    thrown = len(jobs) - len(entries)
    logger.info("%d clips in %s; in %d the mesh saw something else: left", len(entries), shown(folder), thrown)
    return folder


def make_shard(task: _Shard) -> list[dict[str, Any]]:
    """One shard's clips; gives their entries."""
    import torch

    torch.set_num_threads(1)  # one process a core
    index = shard_index(task.folder, task.name)
    if index.exists():
        return read_index(index)
    thrown: Counter[str] = Counter()
    with ShardWriter(task.folder, task.name, kind=PUPPETS) as shard:
        for photograph, job in task.jobs:
            clip = make_clip(photograph, job, size=task.size, fps=task.fps)
            why = why_thrown_out(clip)
            if why:
                thrown[why] += 1
                continue
            shard.add(clip, identity=job.identity, split=job.split, style=job.style, utterance=job.utterance)
    if thrown:
        logger.info("%s: thrown out: %s", task.name, dict(thrown))
    return shard.entries


def make_clip(photograph: Photograph, job: HeadJob, *, size: int, fps: float = 25.0) -> Clip:
    """One clip. What differs between the takes of a person follows from the job; people of the test split look as they
    do."""
    variation = draw_variation(np.random.default_rng([job.identity, job.seed, 0x9E7]), plain=job.split == "test")
    texture, marks = varied(*cut_texture(photograph, size * SAMPLES, variation.framing), variation)
    puppet = Puppet(texture, marks, seed=job.identity, gains=variation.gains)
    performance = perform(
        job.mouth or {}, job.loudness, fps=fps, seed=job.identity * 1009 + job.seed, style=job.style, speed=job.speed,
        rest_deg=job.rest_deg,
    )  # fmt: skip
    return puppet.perform(performance)
