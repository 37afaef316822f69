"""A folder of rendered clips with their truth, drawn by several processes.

In: jobs (who, how, which mouth track). Out: a folder as `training.clips` reads it. Seeded: the same jobs give the same
bytes, however many processes draw them. Our mark in the folder says what the clips were drawn for, so that those of
other options are not taken for these.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import EmoInputError
from ...files import shown
from ...owned import claimable, mark_of, refuse_impossible, write_mark
from ..clips import HEADS, Clip, ClipDataset, ShardWriter, read_index, shard_index, write_index
from .identity import sample_identity
from .job import HeadJob
from .performance import perform
from .render import HeadRenderer

Array = NDArray[np.float32]
logger = logging.getLogger(__name__)
HeadDataset = ClipDataset  # under the name that it had when heads were all there was
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
    tasks = [(folder, f"shard-{k:04d}", shard, size, fps, cache) for k, shard in enumerate(shards)]
    about = {**(about or {}), "size": size, "fps": fps, "clips in a shard": clips_per_shard}
    _refuse_other_options(folder, about)
    left = [shard for _, name, shard, *_ in tasks if not shard_index(folder, name).exists()]
    new = sum(len(job.loudness) for shard in left for job in shard)
    _refuse_other_jobs(folder, shards, may_stay=new == 0 and mark_of(folder, KIND) is not None)
    folder.mkdir(parents=True, exist_ok=True)
    write_mark(folder, KIND, **about)
    HeadRenderer(size=16, cache=cache)  # builds the geometry once, before several processes would
    start = time.monotonic()
    entries: list[dict[str, Any]] = []
    if workers <= 1:
        finished = map(_draw_shard, tasks)
        entries = [entry for shard in finished for entry in shard]
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for k, shard_entries in enumerate(pool.map(_draw_shard, tasks)):
                entries += shard_entries
                logger.info("shard %d of %d", k + 1, len(tasks))
                write_index(folder, entries)  # readable while the rest is being drawn
    write_index(folder, entries)
    seconds = time.monotonic() - start  # the start of the processes included, a few seconds
    logger.info("%d frames drawn in %.0f s, %.0f frames/s, by %d processes", new, seconds, new / seconds, workers)
    return folder


def _refuse_other_options(folder: Path, about: Mapping[str, float]) -> None:
    """Raises EmoInputError for a folder that is not ours, or was drawn for something else."""
    refuse_impossible(folder, name="heads")
    note = mark_of(folder, KIND)
    if note is None:
        # Those of earlier versions have no mark: they hold nothing else, and their clips are compared.
        if not folder.is_dir() or not all(_OLDER.fullmatch(path.name) for path in folder.iterdir()):
            claimable(folder, KIND, name="heads")
        return
    other = [name for name in about if note.get(name) != about[name]]
    if other:
        found = ", ".join(f"{name} {note.get(name)!r:.50}" for name in other)
        wanted = ", ".join(f"{name} {about[name]:g}" for name in other)
        remedy = "Ask for what the folder was made with, or choose another --root."
        raise EmoInputError("heads", f"clips of {found} in {shown(folder)}", wanted, remedy)


def _refuse_other_jobs(folder: Path, shards: Sequence[Sequence[HeadJob]], *, may_stay: bool) -> None:
    """Raises EmoInputError where a finished shard shows other clips than its jobs, as with voices that have grown;
    where they `may_stay`, as nothing is left to be drawn, that is only told."""
    remedy = "Use what it was drawn with, or choose another --root."
    if (beyond := shard_index(folder, f"shard-{len(shards):04d}")).exists():
        raise EmoInputError("heads", f"{shown(beyond)}", f"{len(shards)} shards", remedy)
    for number, jobs in enumerate(shards):
        index = shard_index(folder, f"shard-{number:04d}")
        if not index.exists():
            continue
        drawn = [(e["identity"], e["split"], e["style"], e["utterance"], e["frames"]) for e in read_index(index)]
        if drawn != [(job.identity, job.split, job.style, job.utterance, len(job.loudness)) for job in jobs]:
            found = f"{shown(index)}, which was drawn from other voices or options"
            if not may_stay:
                raise EmoInputError("heads", found, "the clips that are asked for", remedy)
            logger.warning("heads: %s; they are used as they are", found)
            return


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
