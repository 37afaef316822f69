"""Frames to one encoded segment. In: `Clip.frames`. Out: bytes."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import EmoInputError
from .formats import VideoFormat

if TYPE_CHECKING:
    from av import VideoFrame

BT709 = 1  # H.273 code for primaries, transfer and matrix; what players assume for tagged or HD pictures
LIMITED_RANGE = 1  # FFmpeg's AVCOL_RANGE_MPEG: luma 16..235


def exact_fps(fps: float) -> Fraction:
    """`fps` as a ratio that containers can hold (23.976 -> 2997/125). Raises EmoInputError outside 1..240."""
    if not 1.0 <= fps <= 240.0:
        raise EmoInputError("fps", f"{fps}", "1 to 240 frames per second")
    return Fraction(fps).limit_denominator(1001)


def encode_segment(
    frames: Tensor,
    fmt: VideoFormat,
    fps: Fraction,
    finish: Callable[[Tensor], Tensor] | None = None,
    *,
    check: Callable[[], None] = lambda: None,
) -> bytes:
    """Encode `frames` (f, H, W, 3), float 0..1, alone: the segment begins with a key frame and has times from 0.

    `finish` makes of a frame (H, W, 3) the picture (H', W', 3) that is written, one at a time. Odd sides are made even
    by repeating the last row or column where the format halves chroma. `check` is called before each picture and
    between packets, and may raise to stop it. Raises EmoInputError for pictures that the encoder refuses.
    """
    import av

    pictures = (_picture(frame, finish, even=fmt.subsampled) for frame in frames)
    first = next(pictures)
    fmt.check_size(first.shape[1], first.shape[0])
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=fmt.segment_container) as container:
        stream: Any = container.add_stream(fmt.video_codec, rate=fps, options=dict(fmt.options))
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = fmt.pixel_format
        context = stream.codec_context
        context.time_base = 1 / fps
        context.gop_size = 250
        if fmt.subsampled:
            context.color_range, context.colorspace = LIMITED_RANGE, BT709
            context.color_primaries, context.color_trc = BT709, BT709
        images = (
            _video_frame(picture, index, fmt=fmt, fps=fps)
            for index, picture in enumerate(itertools.chain([first], pictures))
        )
        for image in itertools.chain(images, [None]):  # None: what it still holds, a packet at a time
            check()
            for packet in context.encode_lazy(image):
                packet.stream = stream
                container.mux(packet)
                check()
    return buffer.getvalue()


def _picture(frame: Tensor, finish: Callable[[Tensor], Tensor] | None, *, even: bool) -> Tensor:
    """(H, W, 3) uint8 of one frame."""
    return to_bytes((frame if finish is None else finish(frame.float().cpu()))[None], even=even)[0]


def to_bytes(frames: Tensor, *, even: bool) -> Tensor:
    """(f, H, W, 3) float 0..1 to uint8, rounded; with `even`, sides grown to even numbers."""
    pictures = frames.detach().float().cpu().clamp(0, 1).mul_(255).round_().to(torch.uint8)
    if even and pictures.shape[1] % 2:
        pictures = torch.cat([pictures, pictures[:, -1:]], dim=1)
    if even and pictures.shape[2] % 2:
        pictures = torch.cat([pictures, pictures[:, :, -1:]], dim=2)
    return pictures.contiguous()


def _video_frame(picture: Tensor, index: int, *, fmt: VideoFormat, fps: Fraction) -> VideoFrame:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    frame = av.VideoFrame.from_ndarray(picture.numpy(), format="rgb24")
    if fmt.subsampled:
        frame = frame.reformat(
            format=fmt.pixel_format, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
    frame.pts, frame.time_base = index, 1 / fps
    return frame
