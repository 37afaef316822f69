"""What a finished video file holds. In: a path. Out: `Probe`; and how much the mouth moves in it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import torch

from emo_core.face.detect import detect_faces


@dataclass(frozen=True)
class Probe:
    """`frames` (f, H, W, 3) float 0..1; the codecs' names; durations in seconds; the container's metadata."""

    frames: torch.Tensor
    fps: Fraction
    video_codec: str
    audio_codec: str
    audio_s: float
    metadata: dict[str, str]

    @property
    def video_s(self) -> float:
        return float(len(self.frames) / self.fps)


def probe(path: Path) -> Probe:
    """Decode all of it."""
    with av.open(str(path)) as file:
        video, metadata = file.streams.video[0], dict(file.metadata)
        frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in file.decode(video)]
        fps, video_codec = Fraction(video.average_rate or 0), video.codec_context.name
    with av.open(str(path)) as file:
        audio = file.streams.audio[0]
        end = audio.duration * audio.time_base if audio.duration and audio.time_base else Fraction(0)
        audio_codec = audio.codec_context.name
    return Probe(torch.stack(frames).float() / 255, fps, video_codec, audio_codec, float(end), metadata)


def mouth_motion(frames: torch.Tensor) -> tuple[float, float]:
    """How much the picture changes over time (standard deviation, 0..255) around the mouth, and in the top corners."""
    face = detect_faces(frames[0])[0]
    left, top, right, bottom = face.mesh_box
    x, y = (int(value) for value in face.keypoints[3])
    wide, high = int((right - left) * 0.25), int((bottom - top) * 0.15)
    motion = frames.std(dim=0).mean(dim=-1) * 255
    mouth = motion[max(0, y - high) : y + high, max(0, x - wide) : x + wide]
    size = max(1, frames.shape[1] // 10)
    corners = torch.cat([motion[:size, :size].flatten(), motion[:size, -size:].flatten()])
    return float(mouth.mean()), float(corners.mean())
