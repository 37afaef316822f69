"""Head speed from a driving video: in, its frames; out, `SpeedKeys` that another head can be asked for.

Only how fast the head turns is taken, not where to: the paper's speed layers know nothing of directions (3.2).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor

from ..data import MAX_SPEED, SpeedKeys
from ..errors import EmoInputError
from .image import in_colour
from .pose import rotation_speed
from .track import track_face

MIN_SEEN = 0.5  # share of frames in which a face has to be found
MAX_DRIVING_FRAMES = 9000  # five minutes at 30 fps; the mesh is fitted to every one


def speed_from_video(frames: Iterable[Tensor], fps: float) -> SpeedKeys:
    """Rotation of the (largest) head in frames (H, W, 3) in 0..1, `fps` of them a second, over the video's time.

    Grey frames, and such with alpha, are taken as portraits are. Past the end of the driving video its mean holds.
    Raises EmoInputError where no face can be followed.
    """
    if not 0 < fps <= 240:
        raise EmoInputError("driving_fps", f"{fps}", "more than 0, at most 240 frames per second")
    pictures = (in_colour(frame, name="driving_video") for frame in frames)
    faces = track_face(itertools.islice(pictures, MAX_DRIVING_FRAMES))
    seen = [index for index, face in enumerate(faces) if face is not None]
    if len(seen) < 2 or len(seen) < MIN_SEEN * len(faces):
        found = f"a face in {len(seen)} of {len(faces)} frames"
        remedy = "Use a video of one head, seen from the front, at least two frames."
        raise EmoInputError("driving_video", found, f"one in at least {MIN_SEEN:.0%}", remedy)
    landmarks = torch.stack([face.landmarks for face in faces if face is not None])
    speeds = rotation_speed(without_gaps(landmarks, seen)).tolist()
    return speed_keys(speeds, [index / fps for index in range(seen[0], seen[-1] + 1)], fps=fps)


def without_gaps(landmarks: Tensor, seen: list[int]) -> Tensor:
    """Landmarks (k, 468, 3) of the frames `seen` -> of all frames from the first to the last of them, those between
    on straight lines."""
    places = torch.tensor(seen, dtype=torch.float32)
    frames = torch.arange(seen[0], seen[-1] + 1, dtype=torch.float32)
    after = torch.searchsorted(places, frames).clamp(1, len(seen) - 1)
    share = (frames - places[after - 1]) / (places[after] - places[after - 1])
    return torch.lerp(landmarks[after - 1], landmarks[after], share.view(-1, 1, 1))


def speed_keys(speeds: list[float], times: list[float], *, fps: float) -> SpeedKeys:
    """Degrees per frame of the driving video at `times` (s) -> keyframes in degrees per second, the mean at the end."""
    points = [(time, min(speed, MAX_SPEED) * fps) for time, speed in zip(times, speeds, strict=True)]
    mean = sum(value for _, value in points) / len(points)
    return SpeedKeys((*points, (times[-1] + 1 / fps, mean)), per_second=True)
