"""Clips to a video file, streaming. In: `Clip`s in order, the sound. Out: mp4/mov/mkv, webm, gif or a folder of PNG.

A clip is on the disk before the next one is asked for: memory does not grow, and a killed run loses one clip at most.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ..data import Clip, Waveform
from ..errors import EmoInputError
from .disk import explain_disk_errors
from .encode import encode_segment, exact_fps, fit_audio
from .formats import video_format
from .job import Job, open_job
from .join import join_copy, join_gif, join_png

log = logging.getLogger(__name__)


class UnfinishedVideo(RuntimeError):
    """The clips ended before the video did, because somebody stopped them; the finished ones are kept."""


@dataclass(frozen=True)
class WrittenVideo:
    """What was written: `frames` pictures at `fps`, exactly frames / fps seconds."""

    path: Path
    frames: int
    fps: float

    @property
    def duration_s(self) -> float:
        return self.frames / self.fps


def write_video(
    path: str | Path,
    clips: Iterable[Clip],
    fps: float,
    audio: Waveform | None = None,
    *,
    job: Job | None = None,
    frames: int | None = None,
    metadata: Mapping[str, str] | None = None,
    finish: Callable[[Tensor], Tensor] | None = None,
) -> WrittenVideo:
    """Write `clips` (in the order of their index) and `audio` to `path`; the extension chooses the format.

    The sound is cut or padded to the video. With a `job` from `open_job` the clips must begin at `job.state.next_index`
    and the work folder outlives an error; without one every run begins anew. `frames` is how many there will be in all:
    UnfinishedVideo is raised if fewer come. `metadata` is written into the file by name (not into gif and png).
    `finish` makes of each frame (H, W, 3) the picture (H', W', 3) that is written, such as a `Paster`; only one such
    picture is in memory at a time.
    EmoInputError: an unknown extension, a place that cannot be written to, a full disk, no clips.
    """
    path, fmt, rate = Path(path), video_format(path), exact_fps(fps)
    own = job is None
    job = open_job(path, {}, resume="never") if job is None else job
    try:
        for clip in clips:
            if clip.index != job.finished_clips:
                raise ValueError(f"clip {clip.index} came where clip {job.finished_clips} was due")
            with explain_disk_errors(path, job.finished_clips):
                data = encode_segment(clip.frames, fmt, rate, finish)
            job.add(data=data, frames=clip.frames.shape[0], state=clip.state)
        if frames is not None and job.finished_frames < frames:
            raise UnfinishedVideo(f"{job.finished_frames} of {frames} frames of {path} are finished")
        _finish(job, audio, rate, metadata)
    except BaseException:
        if own:
            job.remove()
        raise
    finally:
        job.release()
    job.remove()
    return WrittenVideo(path, job.finished_frames, float(rate))


def _finish(job: Job, audio: Waveform | None, fps: Fraction, metadata: Mapping[str, str] | None) -> None:
    """Join the job's segments into its output, which appears in one piece."""
    if not job.finished_frames:
        raise EmoInputError("clips", "none", "at least one frame")
    fmt, segments = video_format(job.path), job.segment_paths()
    sound = None if audio is None else fit_audio(audio, job.finished_frames / fps)
    joined = job.folder / "joined"
    with explain_disk_errors(job.path, job.finished_clips):
        if fmt.join == "png":
            join_png(segments, job.path, fps=fps, audio=sound, scratch=joined)
            return
        if fmt.join == "gif":
            join_gif(segments, joined, fps=fps)
        else:
            join_copy(segments, joined, fmt=fmt, fps=fps, audio=sound, metadata=metadata)
        os.replace(joined, job.path)
    if fmt.join == "gif" and audio is not None:
        log.info("a GIF has no sound; choose .mp4 or .webm to keep it")
