"""Head speed from a driving video: in, its frames; out, `SpeedKeys` that another head can be asked for.

Only how fast the head turns is taken, not where to: the paper's speed layers know nothing of directions (3.2).
"""

from __future__ import annotations

import itertools
import logging
import statistics
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ..data import MAX_SPEED, SpeedKeys
from ..errors import EmoInputError
from .image import in_colour
from .pose import rotation_speed
from .track import track_face

log = logging.getLogger(__name__)

MIN_SEEN = 0.5  # share of frames in which a face has to be found
MAX_FPS = 240
SAME_TIME = 0.9  # of the shortest time between frames: 240.13 a second are as good as 240, and clocks round
MAX_DRIVING_FRAMES = 9000  # five minutes at 30 fps; the mesh is fitted to every one


def speed_from_video(frames: Iterable[Tensor], fps: float, *, length_s: float | None = None) -> SpeedKeys:
    """Rotation of the (largest) head in frames (H, W, 3) in 0..1, `fps` of them a second, over the video's time.

    Grey frames, and such with alpha, are taken as portraits are. Past the end of the driving video its mean holds, and
    past `MAX_DRIVING_FRAMES`: the log then tells how much was followed of its `length_s`, if that is known. Raises
    EmoInputError where no face can be followed.
    """
    if not 0 < fps <= MAX_FPS:
        raise EmoInputError("driving_fps", f"{fps}", f"more than 0, at most {MAX_FPS} frames per second")
    return speed_from_timed(((index / fps, frame) for index, frame in enumerate(frames)), length_s=length_s)


def speed_from_timed(frames: Iterable[tuple[float, Tensor]], *, length_s: float | None = None) -> SpeedKeys:
    """As `speed_from_video`, of frames with the seconds at which they are shown: those of screens, phones and calls are
    not evenly apart. Of more than `MAX_FPS` a second some are left out."""
    times: list[float] = []
    rest = iter(frames)
    faces = track_face(_pictures(rest, times))
    seen = [index for index, face in enumerate(faces) if face is not None]
    if len(seen) < 2 or len(seen) < MIN_SEEN * len(faces):
        found = f"a face in {len(seen)} of {len(faces)} frames"
        remedy = "Use a video of one head, seen from the front, at least two frames."
        raise EmoInputError("driving_video", found, f"one in at least {MIN_SEEN:.0%}", remedy)
    fps, first_s, last_s = usual_rate(times), times[seen[0]], times[seen[-1]]
    wanted = round((last_s - first_s) * fps) + 1
    even = [first_s + index / fps for index in range(min(wanted, MAX_DRIVING_FRAMES))]
    landmarks = torch.stack([face.landmarks for face in faces if face is not None])
    speeds = rotation_speed(between(landmarks, [times[index] for index in seen], even)).tolist()
    keys = speed_keys(speeds, even, fps=fps)
    if wanted > MAX_DRIVING_FRAMES or (len(times) == MAX_DRIVING_FRAMES and next(rest, None) is not None):
        whole_s = max(length_s or 0.0, times[-1])
        whole = f"{whole_s:.0f} s" if whole_s > even[-1] else "a longer time"
        followed = f"only the first {even[-1]:.0f} s ({len(even)} frames) are followed"
        mean = f"{keys.points[-1][1]:.1f} degrees/s"
        log.warning("driving_video: of %s %s, then their mean holds (%s)", whole, followed, mean)
    return keys


def _pictures(frames: Iterable[tuple[float, Tensor]], times: list[float]) -> Iterator[Tensor]:
    """The frames that are looked at; their times go into `times`."""
    for time, frame in frames:
        if not times or time - times[-1] > SAME_TIME / MAX_FPS:
            times.append(time)
            yield in_colour(frame, name="driving_video")
        if len(times) == MAX_DRIVING_FRAMES:
            return


def usual_rate(times: list[float]) -> float:
    """Frames per second while frames come: what most are apart, without pauses."""
    usual_s = statistics.median(after - before for before, after in itertools.pairwise(times))
    mean_s = (times[-1] - times[0]) / (len(times) - 1)  # which clocks that round get right
    return 1 / (mean_s if abs(mean_s - usual_s) <= 0.1 * usual_s else usual_s)


def between(landmarks: Tensor, times: list[float], wanted: list[float]) -> Tensor:
    """Landmarks (k, 468, 3) at `times` -> those at the times that are wanted, on straight lines."""
    given, asked = (torch.tensor(values, dtype=torch.float64) for values in (times, wanted))
    after = torch.searchsorted(given, asked).clamp(1, len(times) - 1)
    share = ((asked - given[after - 1]) / (given[after] - given[after - 1])).clamp(0, 1)
    return torch.lerp(landmarks[after - 1], landmarks[after], share.to(landmarks).view(-1, 1, 1))


def speed_keys(speeds: list[float], times: list[float], *, fps: float) -> SpeedKeys:
    """Degrees per frame of the driving video at `times` (s) -> keyframes in degrees per second, the mean at the end."""
    points = [(time, min(speed, MAX_SPEED) * fps) for time, speed in zip(times, speeds, strict=True)]
    mean = sum(value for _, value in points) / len(points)
    return SpeedKeys((*points, (times[-1] + 1 / fps, mean)), per_second=True)
