"""A folder of rendered clips with their truth, drawn by several processes, and its reader.

In: jobs (who, how, which mouth track). Out: `clips.json`, a list of {file, start, frames, identity, split, style,
utterance, speed}, and per shard one `<file>.frames.npy` (n, H, W, 3) uint8 and one `<file>.truth.npy` (n, 18)
float32, both read by memmap. Seeded: the same jobs give the same bytes, however many processes draw them. Our mark in
the folder says what the clips were drawn for, so that those of other options are not taken for these.
"""

from __future__ import annotations

import json
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
from ...files import exists, shown
from ...owned import claimable, mark_of, refuse_impossible, write_mark
from ...whole import write_text_whole, written_whole
from ..records import read_array, read_json
from .identity import sample_identity
from .job import HeadJob
from .performance import perform
from .render import HeadRenderer, RenderedClip

Array = NDArray[np.float32]
logger = logging.getLogger(__name__)
# Columns of the truth.
COLUMNS: dict[str, slice | int] = {
    "face_box": slice(0, 4), "mouth_box": slice(4, 8), "eye_box": slice(8, 12), "mouth_open": 12, "jaw": 13,
    "rotation_deg": slice(14, 17), "speed_deg": 17,
}  # fmt: skip
_WIDTH = 18
KIND = "heads"
CLIPS = "clips.json"
_OLDER = re.compile(r"shard-\d{4}\.(json|frames\.npy|truth\.npy)|clips\.json|geometry-\d+\.npz")
_ENTRY = {"file": str, "start": int, "frames": int, "identity": int, "split": str, "style": str, "utterance": str}
_AGAIN = "Remove the files of that shard and run `train heads` again: it makes what is missing."


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
    new = sum(len(job.loudness) for _, name, shard, *_ in tasks for job in shard if not _index(folder, name).exists())
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
                write_text_whole(folder / CLIPS, json.dumps(entries))  # readable while the rest is being drawn
    write_text_whole(folder / CLIPS, json.dumps(entries))
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
    if (beyond := _index(folder, f"shard-{len(shards):04d}")).exists():
        raise EmoInputError("heads", f"{shown(beyond)}", f"{len(shards)} shards", remedy)
    for number, jobs in enumerate(shards):
        index = _index(folder, f"shard-{number:04d}")
        if not index.exists():
            continue
        drawn = [(e["identity"], e["split"], e["style"], e["utterance"], e["frames"]) for e in read_clips(index)]
        if drawn != [(job.identity, job.split, job.style, job.utterance, len(job.loudness)) for job in jobs]:
            found = f"{shown(index)}, which was drawn from other voices or options"
            if not may_stay:
                raise EmoInputError("heads", found, "the clips that are asked for", remedy)
            logger.warning("heads: %s; they are used as they are", found)
            return


def _index(folder: Path, name: str) -> Path:
    """Exists once the shard is finished."""
    return folder / f"{name}.json"


def read_clips(path: Path) -> list[dict[str, Any]]:
    """The entries of clips.json or of one shard."""
    clips: list[dict[str, Any]] = read_json(path, [_ENTRY], what="head data", again=_AGAIN)
    if any(Path(clip["file"]).name != clip["file"] or clip["start"] < 0 or clip["frames"] < 1 for clip in clips):
        raise EmoInputError("head data", f"{shown(path)} with clips that cannot be", "clips of its own files", _AGAIN)
    return clips


def _draw_shard(task: tuple[Path, str, list[HeadJob], int, float, Path | str | None]) -> list[dict[str, Any]]:
    folder, name, jobs, size, fps, cache = task
    index = _index(folder, name)
    if index.exists():
        return read_clips(index)
    renderer = HeadRenderer(size=size, cache=cache)
    total = sum(len(job.loudness) for job in jobs)
    truth = np.empty((total, _WIDTH), np.float32)
    with written_whole(folder / f"{name}.frames.npy") as part:
        frames = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(total, size, size, 3))
        entries = _draw(renderer, jobs, (frames, truth), name=name, fps=fps)
        frames.flush()
        del frames  # an open map cannot be renamed everywhere
    with written_whole(folder / f"{name}.truth.npy") as part, part.open("wb") as file:
        np.save(file, truth)
    write_text_whole(index, json.dumps(entries))
    return entries


def _draw(
    renderer: HeadRenderer, jobs: Sequence[HeadJob], into: tuple[NDArray[np.uint8], Array], *, name: str, fps: float
) -> list[dict[str, Any]]:
    """All clips of a shard, into its frames and truth; gives their entries."""
    frames, truth = into
    entries: list[dict[str, Any]] = []
    start = 0
    for job in jobs:
        performance = perform(
            job.mouth or {},
            job.loudness,
            fps=fps,
            seed=job.identity * 1009 + job.seed,
            style=job.style,
            speed=job.speed,
            rest_deg=job.rest_deg,
        )
        clip = renderer.render(sample_identity(job.identity), performance)
        stop = start + len(job.loudness)
        frames[start:stop], truth[start:stop] = clip.frames, _table(clip)
        entries.append(
            {
                "file": name, "start": start, "frames": stop - start, "identity": job.identity, "split": job.split,
                "style": job.style, "utterance": job.utterance, "speed": float(clip.speed_deg.mean()),
            }
        )  # fmt: skip
        start = stop
    return entries


def _table(clip: RenderedClip) -> Array:
    table = np.empty((len(clip.frames), _WIDTH), np.float32)
    for name, columns in COLUMNS.items():
        table[:, columns] = getattr(clip, name)
    return table


class HeadDataset:
    """Reads what `render_dataset` wrote: `clips` (as in clips.json), `len`, `[i]` -> RenderedClip by memmap."""

    def __init__(self, folder: Path | str, split: str | None = None) -> None:
        self.folder = Path(folder)
        index = self.folder / CLIPS
        if not exists(index):
            found = f"no {CLIPS} in {shown(folder)}"
            raise EmoInputError("head data", found, "a folder that `train heads` wrote", "Run `train heads` first.")
        self.clips = [c for c in read_clips(index) if split is None or c["split"] == split]
        self._open: dict[str, tuple[NDArray[np.uint8], Array]] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> RenderedClip:
        clip = self.clips[i]
        if clip["file"] not in self._open:
            base = self.folder / clip["file"]
            pictures = read_array(base.with_name(f"{base.name}.frames.npy"), ("u", 4), what="head data", again=_AGAIN)
            table = read_array(base.with_name(f"{base.name}.truth.npy"), ("f", 2), what="head data", again=_AGAIN)
            self._open[clip["file"]] = pictures, table
        frames, truth = self._open[clip["file"]]
        if clip["start"] + clip["frames"] > min(len(frames), len(truth)) or truth.shape[1] < _WIDTH:
            raise EmoInputError("head data", f"{clip['file']}, which is shorter than {CLIPS} says", "all of it", _AGAIN)
        rows = slice(clip["start"], clip["start"] + clip["frames"])
        values = {n: truth[rows, c] for n, c in COLUMNS.items()}
        return RenderedClip(frames=frames[rows], **values)


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
