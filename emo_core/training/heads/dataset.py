"""A folder of rendered clips with their truth, drawn by several processes.

In: jobs (who, how, which mouth track). Out: a folder as `training.clips` reads it. Seeded: the same jobs give the same
bytes, however many processes draw them. Our mark in the folder says what the clips were drawn for, so that those of
other options are not taken for these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import EmoInputError
from ...owned import mark_of
from ..clips import HEADS, Clip, ShardWriter, read_index, shard_index
from ..shards import claim_clips, job_key, make_shards, refuse_other_jobs, shard_name
from .identity import sample_identity
from .job import HeadJob
from .performance import perform
from .render import HeadRenderer

Array = NDArray[np.float32]
KIND = HEADS
_OLDER = re.compile(r"shard-\d{4}\.(json|frames\.npy|truth\.npy)|clips\.json|geometry-\d+\.npz")


def render_dataset(
    folder: Path | str, jobs: Sequence[HeadJob], *, size: int = 128, fps: float = 25.0, workers: int = 2,
    clips_per_shard: int = 64, cache: Path | str | None = None, about: Mapping[str, float] | None = None,
) -> Path:  # fmt: skip
    """Draw all jobs into `folder`; shards already finished by an earlier, interrupted call are kept. `about`: the
    options that the jobs follow from, to be noted. EmoInputError for a folder of other options or jobs, with both."""
    if not jobs:
        raise EmoInputError("jobs", "none", "at least one clip to draw")
    folder = Path(folder)
    # Clips of one identity lie together, so that its mesh is built once.
    order = sorted(range(len(jobs)), key=lambda i: (jobs[i].split, jobs[i].identity))
    shards = [[jobs[i] for i in order[s : s + clips_per_shard]] for s in range(0, len(order), clips_per_shard)]
    tasks = [(folder, shard_name(k), shard, size, fps, cache) for k, shard in enumerate(shards)]
    about = {**(about or {}), "size": size, "fps": fps, "clips in a shard": clips_per_shard}
    claim_clips(folder, KIND, about, older=_of_an_earlier_version)
    unfinished = any(not shard_index(folder, name).exists() for _, name, *_ in tasks)
    may_stay = not unfinished and mark_of(folder, KIND) is not None
    refuse_other_jobs(folder, KIND, [list(map(job_key, shard)) for shard in shards], may_stay=may_stay)
    HeadRenderer(size=16, cache=cache)  # builds the geometry once, before several processes would
    make_shards(folder, KIND, about, tasks, _draw_shard, processes=workers)
    return folder


def _of_an_earlier_version(folder: Path) -> bool:
    """Those have no mark: they hold nothing else, and their clips are compared."""
    return folder.is_dir() and all(_OLDER.fullmatch(path.name) for path in folder.iterdir())


def _draw_shard(task: tuple[Path, str, list[HeadJob], int, float, Path | str | None]) -> list[dict[str, Any]]:
    folder, name, jobs, size, fps, cache = task
    index = shard_index(folder, name)
    if index.exists():
        return read_index(index)
    renderer = HeadRenderer(size=size, cache=cache)
    with ShardWriter(folder, name, kind=HEADS) as shard:
        for job in jobs:
            shard.add(_drawn(renderer, job, fps), identity=job.identity, split=job.split, style=job.style,
                      utterance=job.utterance)  # fmt: skip
    return shard.entries


def _drawn(renderer: HeadRenderer, job: HeadJob, fps: float) -> Clip:
    performance = perform(
        job.mouth or {},
        job.loudness,
        fps=fps,
        seed=job.identity * 1009 + job.seed,
        style=job.style,
        speed=job.speed,
        rest_deg=job.rest_deg,
    )
    return renderer.render(sample_identity(job.identity), performance)


def babble(frames: int, *, fps: float, seed: int) -> tuple[dict[str, Array], Array]:
    """A mouth track and its loudness without any voice: about four openings a second with pauses, for trials."""
    from scipy.ndimage import gaussian_filter1d

    rng = np.random.default_rng([seed, 0xBAB])
    knots = gaussian_filter1d(rng.standard_normal((frames, 4)), fps / 16, axis=0, mode="wrap")
    knots /= knots.std(axis=0) + 1e-9
    pause = gaussian_filter1d(rng.standard_normal(frames), fps * 0.6, mode="wrap")
    voice = np.clip(0.7 + 0.8 * pause / (pause.std() + 1e-9), 0, 1)
    jaw = np.clip(0.22 + 0.2 * knots[:, 0], 0, 0.75) * voice
    wide, round_ = np.clip(0.3 * knots[:, 1], 0, 0.6) * voice, np.clip(0.4 * knots[:, 2] - 0.1, 0, 0.8) * voice
    upper = np.clip(0.2 * knots[:, 3], 0, 0.5) * voice
    tracks = {
        "jawOpen": jaw, "mouthPucker": round_, "mouthFunnel": round_ * 0.6, "mouthStretchLeft": wide,
        "mouthStretchRight": wide, "mouthUpperUpLeft": upper, "mouthUpperUpRight": upper,
        "mouthLowerDownLeft": 0.6 * jaw,
        "mouthLowerDownRight": 0.6 * jaw,
    }  # fmt: skip
    return {k: v.astype(np.float32) for k, v in tracks.items()}, np.clip(jaw * 2.2, 0, 1).astype(np.float32)
