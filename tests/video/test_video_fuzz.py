"""Damaged videos: the frames that can be read, or a sentence, never another error."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from fuzzing import fuzz

from emo_core.video.read import open_frames

CASES = 500
KINDS = {
    "a.mp4": ("libx264", "yuv420p"),
    "a.mkv": ("libx264", "yuv420p"),
    "a.avi": ("mpeg4", "yuv420p"),
    "a.mov": ("mjpeg", "yuvj420p"),
    "a.webm": ("libvpx-vp9", "yuv420p"),
    "a.ts": ("mpeg2video", "yuv420p"),
    "a.flv": ("flv1", "yuv420p"),
    "a.gif": ("gif", "rgb8"),
    "b.mov": ("prores_ks", "yuv422p10le"),
}


def seeds(folder: Path) -> list[Path]:
    written = []
    for name, (codec, pixels) in KINDS.items():
        if codec not in av.codecs_available:
            continue
        with av.open(str(folder / name), "w") as container:
            container.metadata["title"] = "title"
            stream = container.add_stream(codec, rate=Fraction(25))
            stream.width, stream.height, stream.pix_fmt = 48, 32, pixels
            for index in range(5):
                picture = np.roll(np.arange(48 * 32 * 3).reshape(32, 48, 3) % 251, index * 5, axis=1)
                frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        written.append(folder / name)
    assert len(written) > 5
    return written


def read(path: Path) -> None:
    with open_frames(path) as (fps, frames):
        assert fps > 0
        last_s = 0.0
        for time_s, frame in itertools.islice(frames, 20):
            assert -0.1 <= time_s - last_s <= 600
            last_s = time_s
            assert frame.ndim == 3 and frame.shape[-1] == 3 and float(frame.min()) >= 0 and float(frame.max()) <= 1


def test_damaged_videos_give_frames_or_a_sentence() -> None:
    assert not fuzz(__file__, count=CASES)
