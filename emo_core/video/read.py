"""Read a video file's frames, one at a time: in, a path; out, its frame rate and pictures (H, W, 3) float in 0..1, each
with its time.

As players show them: when the file's clock says, pixels square, turned as the phone was held. Damage in the middle
costs the frames it hit, not the rest; a tag in another encoding, or a name that FFmpeg would take for a protocol, costs
nothing.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import EmoInputError
from ..files import readable_file, shown

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

Timed = Iterator[tuple[float, Tensor]]

MAX_PIXELS = 40_000_000  # of a frame: 8192x4320 has 35 million
_BACK_S = 0.1  # a clock that goes back by more was set anew
LONGEST_GAP_S = 600.0  # one that jumps further ahead is wrong
MOST_STRETCHED = 4.0  # sides of a pixel; what claims more is believed to be square, as no camera's or disc's are more
MAX_DAMAGED = 1000  # packets one after the other that give nothing: there is nothing more to come
_ALLOWED = "a video file"
_REMEDY = "Export it as mp4."


@contextmanager
def open_frames(path: str | Path, *, name: str = "driving video") -> Iterator[tuple[float, Timed]]:
    """Frames per second, on average, and the frames as (seconds, picture), read as they are asked for. `name` is the
    input that named the file. Raises EmoInputError for what is no video, on opening or, where no frame can be read at
    all, when the first is asked for.
    """
    with _opened(path, name) as (container, stream, file_name):
        fps = _rate(stream, file_name, name)
        clock = _Clock(1 / fps)
        frames = _frames(container, stream, file_name=file_name, name=name)
        yield fps, ((clock.seconds(found), picture) for found, picture in frames)


def length_s(path: str | Path, *, name: str = "driving video") -> float | None:
    """How long a video says that it is, if it does; nothing is decoded. Raises EmoInputError for what is no video."""
    with _opened(path, name) as (container, stream, _):
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        return container.duration / 1e6 if container.duration else None


@contextmanager
def _opened(path: str | Path, name: str) -> Iterator[tuple[InputContainer, VideoStream, str]]:
    """The file, its pictures, its name for a message."""
    import av
    from av.error import FFmpegError

    path = readable_file(path, name=name, allowed=_ALLOWED)
    file_name = shown(path.name)
    with path.open("rb") as file:  # FFmpeg never sees the name
        try:
            container = av.open(file, "r", metadata_errors="replace")
        except (FFmpegError, ValueError) as error:  # ValueError: sides and rates that cannot be
            raise EmoInputError(name, f"{file_name}, which cannot be read ({error})", _ALLOWED, _REMEDY) from error
        with container:
            stream = _pictures(container)
            if stream is None:
                raise EmoInputError(name, f"no pictures in {file_name}", _ALLOWED, "Choose another file.")
            yield container, stream, file_name


def _pictures(container: InputContainer) -> VideoStream | None:
    """The moving pictures that there is a decoder for; a cover is none. Of several the default, or else the first."""
    from av.stream import Disposition

    streams = [stream for stream in container.streams.video if stream.codec_context is not None]
    moving = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    return min(moving, key=lambda stream: not stream.disposition & Disposition.default, default=None)


def _rate(stream: VideoStream, file_name: str, name: str) -> float:
    rate = stream.average_rate or stream.guessed_rate
    if not rate:
        raise EmoInputError(name, f"{file_name} without a frame rate", _ALLOWED, _REMEDY)
    return float(rate)


class _Clock:
    """The times of frames, one after the other, from the first one's on; `usual_s` apart where the file says none."""

    def __init__(self, usual_s: float) -> None:
        self._usual_s, self._begin_s = usual_s, 0.0
        self._last_s: float | None = None

    def seconds(self, frame: VideoFrame) -> float:
        expected_s = 0.0 if self._last_s is None else self._last_s + self._usual_s
        time_s = expected_s if frame.time is None else frame.time - self._begin_s
        if self._last_s is None or not -_BACK_S <= time_s - self._last_s <= LONGEST_GAP_S:
            self._begin_s, time_s = self._begin_s + time_s - expected_s, expected_s
        self._last_s = time_s
        return time_s


def _frames(
    container: InputContainer, stream: VideoStream, *, file_name: str, name: str
) -> Iterator[tuple[VideoFrame, Tensor]]:
    from av.error import FFmpegError

    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # asked before memory is taken
    shape = _pixel_shape(stream)
    count, damaged, reason = 0, 0, ""
    for found in _decoded(container, stream):
        try:
            if isinstance(found, FFmpegError):
                raise found
            pixels = found.to_ndarray(format="rgb24", **_square(found, shape))
            picture = torch.from_numpy(pixels).float().div_(255)
            yield found, _upright(picture, found)
        except (FFmpegError, ValueError) as error:  # ValueError: a form of pixels that PyAV cannot convert
            damaged, reason = damaged + 1, str(error)
            continue
        count += 1
    if not count:
        found = f"{file_name}, of which no frame can be read ({reason or 'it holds none'})"
        raise EmoInputError(name, found, _ALLOWED, _REMEDY)
    if damaged:
        log.warning("%s: %s is damaged in %d places, their frames are left out (%s)", name, file_name, damaged, reason)


def _pixel_shape(stream: VideoStream) -> float:
    """Width over height of a pixel: not 1 on tapes and discs, and in wide pictures that were squeezed. The container's
    word counts before the codec's."""
    ratio = stream.sample_aspect_ratio
    shape = float(ratio) if ratio else 1.0
    return shape if 1 / MOST_STRETCHED <= shape <= MOST_STRETCHED else 1.0


def _square(frame: VideoFrame, shape: float) -> dict[str, int]:
    """The sides at which a frame's pixels are square, for its conversion; the shorter is made longer, none shorter."""
    width, height = round(frame.width * max(shape, 1.0)), round(frame.height / min(shape, 1.0))
    if (width, height) == (frame.width, frame.height) or width * height > MAX_PIXELS:
        return {}
    return {"width": width, "height": height}


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[Any]:
    """Frames, and errors in the places of those that could not be decoded."""
    from av.error import EOFError as EndOfFile
    from av.error import FFmpegError

    packets, failed = container.demux(stream), 0
    while failed < MAX_DAMAGED:
        try:
            packet = next(packets)
        except (StopIteration, EndOfFile):
            return
        except FFmpegError as error:  # the container itself ends here
            yield error
            return
        try:
            frames = packet.decode()
        except EndOfFile:
            return
        except FFmpegError as error:
            failed += 1
            yield error
            continue
        failed = 0 if frames else failed
        yield from frames


def _upright(picture: Tensor, frame: VideoFrame) -> Tensor:
    """A picture (H, W, 3) turned, and mirrored, as the frame's display matrix says."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    matrix = b"" if data is None else bytes(data)
    if len(matrix) < 36:
        return picture
    # Where a step to the right, and one down, leads: (a, b) and (c, d).
    a, b, _, c, d = struct.unpack("=9i", matrix[:36])[:5]
    if abs(b) > abs(a):
        picture, across, down = picture.transpose(0, 1), c, b
    else:
        across, down = a, d
    flipped = [axis for axis, sign in ((1, across), (0, down)) if sign < 0]
    return picture.flip(flipped).contiguous() if flipped or abs(b) > abs(a) else picture
