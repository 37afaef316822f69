"""Which codecs a file name asks for. In: the output path. Out: a `VideoFormat` (not part of the paper).

Every clip is first encoded alone (its segment), then all segments are joined; `segment_container` is the form of the
first, `container` of the second. For png and gif the segments hold PNG pictures, so nothing is lost on the way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from ..errors import EmoInputError

BLOCK = 16  # pixels; what levels count pictures in
MIN_SIDE = 16  # pixels; a picture that is scaled to less shows nothing


@dataclass(frozen=True)
class Level:
    """How large pictures may be so that players need not be asked: blocks of 16x16 in one of them and in a second of
    them, and pixels of a side."""

    name: str
    blocks: int
    blocks_per_second: int
    side: int

    def holds(self, width: int, height: int, fps: Fraction) -> bool:
        blocks = math.ceil(width / BLOCK) * math.ceil(height / BLOCK)
        return max(width, height) <= self.side and blocks <= self.blocks and blocks * fps <= self.blocks_per_second


# H.264 table A-1, 5.2: the side is the root of eight times the blocks. VP9's levels, 6.2: in luma samples there.
_H264_LEVEL = Level("H.264's level 5.2, which phones play", 36_864, 2_073_600, 543 * BLOCK)
_VP9_LEVEL = Level("VP9's level 6.2", 35_651_584 // BLOCK**2, 4_706_009_088 // BLOCK**2, 16_384)


@dataclass(frozen=True)
class VideoFormat:
    """How one kind of output is written. `join`: what happens to the segments at the end."""

    container: str
    segment_container: str
    video_codec: str
    pixel_format: str
    options: dict[str, str] = field(default_factory=dict)  # of the video encoder
    audio_codec: str | None = None
    audio_rates: tuple[int, ...] = ()  # Hz; another rate is resampled to the next higher of these
    container_options: dict[str, str] = field(default_factory=dict)
    join: str = "copy"  # packets as they are | "gif" | "png"
    level: Level | None = None
    codec_side: int = 65_535  # pixels; the encoder, or the container, refuses larger pictures

    @property
    def subsampled(self) -> bool:
        """Chroma at half resolution: sides must be even."""
        return self.pixel_format == "yuv420p"

    def fitting_size(self, width: int, height: int, fps: Fraction) -> tuple[int, int]:
        """Width and height at which a picture is to be written: its own, or smaller of the same shape where the
        format's level does not hold it at this frame rate. Raises EmoInputError for a shape that cannot be held."""
        if self.level is None or self.level.holds(width, height, fps):
            self.check_size(width, height)
            return width, height
        blocks = min(self.level.blocks, math.floor(self.level.blocks_per_second / fps))
        share = min(1.0, self.level.side / max(width, height), math.sqrt(blocks * BLOCK**2 / (width * height)))
        longer = math.floor(max(width, height) * share / 2) * 2
        while True:
            w, h = (max(2, round(side * longer / max(width, height) / 2) * 2) for side in (width, height))
            if min(w, h) < MIN_SIDE:
                allowed = f"a picture that can be scaled to {self.level.side} pixels a side and still be seen"
                remedy = "Cut out the part around the face."
                raise EmoInputError("portrait", f"{width}x{height} pixels", allowed, remedy)
            if self.level.holds(w, h, fps):
                return w, h
            longer -= 2

    def check_size(self, width: int, height: int) -> None:
        """Raises EmoInputError for pictures that the encoder refuses."""
        if max(width, height) > self.codec_side:
            allowed = f"at most {self.codec_side} a side in {self.container}"
            raise EmoInputError("output", f"pictures of {width}x{height} pixels", allowed, "Scale the picture down.")


# No B-frames: packets are then in the order of display, and segments join by shifting their times.
# crf 17 is visually lossless for x264; VP9 obeys crf alone only with a bit rate of 0.
_H264 = {"crf": "17", "preset": "medium", "bf": "0"}
_VP9 = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "auto-alt-ref": "0", "row-mt": "1"}
# A packet of AAC is 1024 samples and the last one is played whole: at 16 kHz the sound would overhang by up to 64 ms.
_AAC_RATES = (44100, 48000)
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


def _h264(container: str) -> VideoFormat:
    return VideoFormat(
        container=container,
        segment_container="mp4",
        video_codec="libx264",
        pixel_format="yuv420p",
        options=_H264,
        audio_codec="aac",
        audio_rates=_AAC_RATES,
        container_options={} if container == "matroska" else {"movflags": "+faststart"},
        level=_H264_LEVEL,
        codec_side=16_384,
    )


_WEBM = VideoFormat("webm", "webm", "libvpx-vp9", "yuv420p", _VP9, "libopus", _OPUS_RATES, level=_VP9_LEVEL)
_GIF = VideoFormat("gif", "mov", "png", "rgb24", join="gif")
_PNG = VideoFormat("png", "mov", "png", "rgb24", join="png")

FORMATS: dict[str, VideoFormat] = {
    ".mp4": _h264("mp4"),
    ".m4v": _h264("mp4"),
    ".mov": _h264("mov"),
    ".mkv": _h264("matroska"),
    ".webm": _WEBM,
    ".gif": _GIF,
    "": _PNG,
}


def video_format(path: str | Path) -> VideoFormat:
    """The format that the extension of `path` names; a name without one is a folder of PNG pictures."""
    name = Path(path).name
    if not name or name.lower() in FORMATS:  # as "$NAME.mp4" becomes where there is no NAME
        found = f"{str(path)!r}{', an extension without a name' if name else ''}"
        raise EmoInputError("output", found, "the name of a file")
    if name.endswith(".") and name.strip("."):  # which Windows leaves away
        raise EmoInputError("output", f"{str(path)!r}", "a name that does not end in a dot")
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(s for s in FORMATS if s)
        found = f"the extension {suffix!r} in {str(path)!r}"
        raise EmoInputError("output", found, f"one of {known}, or a folder name without extension for PNG pictures")
    return FORMATS[suffix]
