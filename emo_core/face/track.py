"""Follow one face through the frames of a video: landmarks per frame.

In: frames (f, H, W, 3) float 0..1. Out: a `Face` per frame, None where none was found. The mesh is fitted where the
frame before had the face; the detector is asked only where that fails, as in MediaPipe's own pipeline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

from .detect import MIN_FLAG, Face, detect_faces, landmark_view, mesh_in_view


def track_face(frames: Iterable[Tensor], *, min_flag: float = MIN_FLAG) -> list[Face | None]:
    """One face (the largest of the first frame that has any) through frames (H, W, 3), which need not be in memory
    together. `box` of a followed face stays that of its last detection; use `mesh_box`.
    """
    faces: list[Face | None] = []
    last: Face | None = None
    for frame in frames:
        face = None if last is None else _follow(frame, last, min_flag)
        if face is None:
            face = next(iter(detect_faces(frame, min_flag=min_flag)), None)
        faces.append(face)
        last = face or last
    return faces


def _follow(frame: Tensor, last: Face, min_flag: float) -> Face | None:
    landmarks, flag = mesh_in_view(frame, landmark_view(last.landmarks))
    return replace(last, landmarks=landmarks, flag=flag) if flag >= min_flag else None
