"""Clips to a video file, streaming. In: `Clip`s in order, the sound. Out: mp4/mov/mkv, webm, gif or a folder of PNG.

A clip is on the disk before the next one is asked for: memory does not grow, and a killed run loses one clip at most.
With `overlap` it is on the disk before the one after the next is asked for: a killed run then loses the clip that was
being written as well, if it was killed within the moment that this takes; one that is stopped or fails still loses none
but the clip in work.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from ..data import Clip, Waveform
from ..errors import EmoInputError
from .disk import explain_disk_errors
from .encode import encode_segment, exact_fps
from .formats import video_format
from .job import Job, open_job
from .join import join_copy, join_gif, join_png
from .landing import Landing
from .output import publish, publish_pictures
from .sound import fit_audio

log = logging.getLogger(__name__)

HEAR_S = 0.2  # how often somebody who waits for a clip hears whether to stop
STOP_S = 2.0  # so long a clip that is being written may take to its end after somebody has stopped the rest


class UnfinishedVideo(RuntimeError):
    """The clips ended before the video did, because somebody stopped them; the finished ones are kept."""


class _GivenUp(Exception):
    """The clip that was being written is not worth waiting for."""


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
    overlap: bool = False,
    overwrite: bool = False,
    should_stop: Callable[[], bool] | None = None,
) -> WrittenVideo:
    """Write `clips` (in the order of their index) and `audio` to `path`; the extension chooses the format.

    The sound is cut or padded to the video. With a `job` from `open_job` the clips must begin at `job.state.next_index`
    and the work folder outlives an error; without one every run begins anew. `frames` is how many there will be in all:
    UnfinishedVideo is raised if fewer come. `metadata` is written into the file by name (not into gif and png).
    `finish` makes of each frame (H, W, 3) the picture (H', W', 3) that is written, such as a `Paster`; only one such
    picture is in memory at a time. It is called in the thread that encodes; `clips` are always asked for in the
    caller's. With `overlap` a clip is encoded and written while the next one is being made: the same file, but an error
    of writing is raised one clip later.

    A file that exists is replaced only with `overwrite` (a job has its own); one that comes to exist meanwhile keeps
    its name, and the video takes the next free one: `WrittenVideo.path`. `should_stop` is asked while a clip's writing
    is waited for and while clips are joined (UnfinishedVideo; what is finished is kept). When the clips are stopped,
    one that is being written is kept if that takes STOP_S at most.
    EmoInputError: an unknown extension, an output that exists, an unwritable place, a full disk, no clips.
    """
    path, fmt, rate = Path(path), video_format(path), exact_fps(fps)
    own = job is None
    job = open_job(path, {"run": uuid.uuid4().hex}, overwrite=overwrite) if job is None else job
    given_up = threading.Event()

    def encode(clip: Clip) -> bytes:
        return encode_segment(clip.frames, fmt, rate, finish, check=lambda: _raise_if(given_up))

    def hear() -> None:
        if should_stop is not None and should_stop():
            raise UnfinishedVideo(f"stopped after {job.finished_frames} frames of {path}")

    try:
        _keep_clips(job, clips, encode, hear=hear, overlap=overlap, given_up=given_up)
        if frames is not None and job.finished_frames < frames:
            raise UnfinishedVideo(f"{job.finished_frames} of {frames} frames of {path} are finished")
        path = _finish(job, audio, rate, metadata, should_stop or (lambda: False))
    except BaseException:
        if own:
            job.remove()
        raise
    finally:
        job.release()
    job.remove()
    return WrittenVideo(path, job.finished_frames, float(rate))


def _raise_if(given_up: threading.Event) -> None:
    if given_up.is_set():
        raise _GivenUp


def _keep_clips(
    job: Job,
    clips: Iterable[Clip],
    encode: Callable[[Clip], bytes],
    *,
    hear: Callable[[], None],
    overlap: bool,
    given_up: threading.Event,
) -> None:
    """Encode every clip and enter it into the job, in one thread beside the caller's; nothing runs in it afterwards.
    `hear` is called while that is waited for, and may raise to stop it.

    With `overlap` the caller's thread goes on to the next clip, and waits for this one before it hands that over.
    """

    @torch.inference_mode()  # per thread; a host may have made the frames under it
    def keep(clip: Clip) -> None:
        with explain_disk_errors(job.path, job.finished_clips):
            data = encode(clip)
        job.add(data=data, frames=clip.frames.shape[0], state=clip.state)

    writing: Future[None] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="emo-writer") as thread:
        try:
            for clip in clips:
                _wait(writing, hear)
                if clip.index != job.finished_clips:
                    raise ValueError(f"clip {clip.index} came where clip {job.finished_clips} was due")
                writing = thread.submit(keep, clip)
                if not overlap:
                    _wait(writing, hear)
            _wait(writing, hear)
        except BaseException as error:
            # Somebody stopped the clips: what is finished is kept, and if it cannot be, that is not what stopped them.
            failed = None if writing is None else _ended(writing, given_up)
            if failed is not None and failed is not error and not isinstance(failed, _GivenUp):
                log.warning("clip %d could not be kept: %s", job.finished_clips, failed)
            raise


def _wait(writing: Future[None] | None, hear: Callable[[], None]) -> None:
    """Until the clip before is on the disk; raises what kept it from getting there, or what `hear` raises meanwhile."""
    while writing is not None:
        done, _ = wait([writing], timeout=HEAR_S)
        if done:
            writing.result()
            return
        hear()


def _ended(writing: Future[None], given_up: threading.Event) -> BaseException | None:
    """What kept the clip that is being written from getting to the disk; if it takes too long, it is given up."""
    try:
        return writing.exception(timeout=STOP_S)
    except NotYet:
        given_up.set()
        return writing.exception()


def _finish(
    job: Job,
    audio: Waveform | None,
    fps: Fraction,
    metadata: Mapping[str, str] | None,
    should_stop: Callable[[], bool],
) -> Path:
    """Join the job's segments into its output, which appears in one piece; where it is."""
    if not job.finished_frames:
        raise EmoInputError("clips", "none", "at least one frame")
    fmt, segments, joined = video_format(job.path), job.segment_paths(), job.joined()
    sound = None if audio is None else fit_audio(audio, job.finished_frames / fps)

    def check() -> None:
        if should_stop():
            raise UnfinishedVideo(f"all {job.finished_frames} frames of {job.path} are finished, and not yet joined")

    with explain_disk_errors(job.path, job.finished_clips), Landing(job) as landing:
        overwrite, copied = job.overwrite, landing.copied
        if fmt.join == "png":
            join_png(segments, joined, audio=sound, check=check)
            return publish_pictures(joined, job.path, frames=job.finished_frames, overwrite=overwrite, copied=copied)
        if fmt.join == "gif":
            join_gif(segments, joined, fps=fps, check=check)
        else:
            join_copy(segments, joined, fmt=fmt, fps=fps, audio=sound, metadata=metadata, check=check)
        written = publish(joined, job.path, overwrite=overwrite, copied=copied)
    if fmt.join == "gif" and audio is not None:
        log.info("a GIF has no sound; choose .mp4 or .webm to keep it")
    return written
