"""Read a video file's frames, one at a time: in, a path; out, its frame rate and pictures (H, W, 3) float in 0..1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ..errors import EmoInputError

_REMEDY = "Export it as mp4."


@contextmanager
def open_frames(path: str | Path) -> Iterator[tuple[float, Iterator[Tensor]]]:
    """Frames per second and the frames, read as they are asked for. Raises EmoInputError for what is no video."""
    import av
    from av.error import FFmpegError

    path = Path(path)
    if not path.is_file():
        raise EmoInputError("video", f"no file at {path}", "a video file", "Check the path.")
    try:
        with av.open(str(path)) as container:
            streams = container.streams.video
            if not streams:
                raise EmoInputError("video", f"no pictures in {path.name}", "a video file", "Choose another file.")
            rate = streams[0].average_rate or streams[0].guessed_rate
            if not rate:
                raise EmoInputError("video", f"{path.name} without a frame rate", "a video file", _REMEDY)
            decoded = container.decode(streams[0])
            yield float(rate), (torch.from_numpy(f.to_ndarray(format="rgb24")).float() / 255 for f in decoded)
    except FFmpegError as error:
        raise EmoInputError("video", f"{path.name}, which cannot be read ({error})", "a video", _REMEDY) from error
