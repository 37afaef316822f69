"""Which codecs a file name asks for. In: the output path. Out: a `VideoFormat` (not part of the paper).

Every clip is first encoded alone (its segment), then all segments are joined; `segment_container` is the form of the
first, `container` of the second. For png and gif the segments hold PNG pictures, so nothing is lost on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import EmoInputError


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

    @property
    def subsampled(self) -> bool:
        """Chroma at half resolution: sides must be even."""
        return self.pixel_format == "yuv420p"


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
    )


_WEBM = VideoFormat("webm", "webm", "libvpx-vp9", "yuv420p", _VP9, "libopus", _OPUS_RATES)
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
    if not Path(path).name:
        raise EmoInputError("output", f"{str(path)!r}", "the name of a file")
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(s for s in FORMATS if s)
        found = f"the extension {suffix!r} in {str(path)!r}"
        raise EmoInputError("output", found, f"one of {known}, or a folder name without extension for PNG pictures")
    return FORMATS[suffix]
