"""How a head moves while it talks, for models that turn the portrait (models/posed_portrait). In: a speed for every
frame, chance, the room that the face region gives. Out: the pose of every frame, away from the portrait's.

EMO's network finds a movement in the noise and hears only how fast it is to be (paper 3.2). emo-mini's is too small to:
it painted every part of the face as if the head were elsewhere. So the path is drawn here, and the speed holds by
construction. Everything follows from the inputs: a video that is resumed goes on along the same path.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

REACH_DEG = (5.5, 9.0, 3.5)  # pitch, yaw, roll at the widest: what training/heads/performance.py draws
_CALM, _QUICK = 0.5, 1.5  # share of the reach for a head that hardly moves; degrees per frame at which it is all used
_ROOM = (0.25, 0.8, 1.0)  # share of the reach in a narrow face region, in the portrait's own, in a wide one
_ROOM_POWER = 1.3  # of the region's side over its own
_WAVES = ((1.0, 1.0), (0.61, 0.6))  # per axis: waves per unit of the path, weight
_AXES = (1.37, 1.0, 0.73)  # pitch, yaw and roll swing at unrelated paces, so that the path does not repeat itself
_EVEN = 0.35  # 0: at the speed asked for even where the path turns, sharply; 1: slowing down there as a wave does
_STEP = 0.02  # of the path's parameter
_WHIMS_S, _WHIMS = 1.0, 0.8  # how long a change of pace takes and how far it goes (deviation of its logarithm)


def head_sway(speed: Tensor, *, generator: torch.Generator, room: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Pitch, yaw and roll (f, 3) in degrees for speeds (f,) in degrees per frame, which hold on average. `generator` is
    the CPU's: the path is drawn from it.

    The head starts at the portrait's pose. `room`: width and height of the face region over those of the portrait's
    own; in a wider one the head turns farther, in a taller one it nods deeper.
    """
    steps = np.asarray(speed, np.float64)
    travelled = np.concatenate([[0.0], np.cumsum(steps[1:])])  # degrees, up to each frame
    if travelled[-1] <= 0:
        return torch.zeros(len(steps), 3)
    reach = _reach(float(travelled[-1]) / max(1, len(steps) - 1), room)
    path = _path(1.2 * float(travelled[-1]), reach, generator)
    lengths = np.linalg.norm(np.diff(path, axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(lengths)])
    even = np.concatenate([[0.0], np.cumsum(_EVEN * lengths[lengths > 0].mean() + (1 - _EVEN) * lengths)])
    end = int(np.searchsorted(arc, travelled[-1]))
    even *= travelled[-1] / even[min(end, len(even) - 1)]

    def poses(places: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([np.interp(places, even, path[:, axis]) for axis in range(3)], axis=1)

    # From frame to frame a head goes straight, which is shorter than the path where it bends.
    straight = float(np.linalg.norm(np.diff(poses(travelled), axis=0), axis=1).sum())
    return torch.from_numpy(poses(travelled * travelled[-1] / straight).astype(np.float32))


def own_pace(frames: int, *, fps: float, mean: float, generator: torch.Generator) -> Tensor:
    """Speeds (f,) of a head that nobody asks for one, in degrees per frame around `mean`: it hurries and it rests."""
    knots = math.ceil(frames / fps / _WHIMS_S) + 3
    whims = torch.randn(knots, generator=generator).numpy()
    place = np.arange(frames) / fps / _WHIMS_S + 1
    left, share = np.floor(place).astype(int), place % 1
    share = share * share * (3 - 2 * share)
    pace = np.exp(_WHIMS * (whims[left] * (1 - share) + whims[left + 1] * share) - _WHIMS**2 / 2)
    return torch.from_numpy((mean * pace).astype(np.float32))


def room_in(region: Tensor, own: Tensor) -> tuple[float, float]:
    """Width and height of a face region (..., H, W), of masks over time that of all together, over those of the
    portrait's own (H, W)."""
    asked, given = _extent(region.flatten(0, -3).amax(0) if region.ndim > 2 else region), _extent(own)
    return tuple(a / b if a and b else 1.0 for a, b in zip(asked, given, strict=True))  # type: ignore[return-value]


def _extent(mask: Tensor) -> tuple[int, int]:
    inside = mask > 0.5
    return int(inside.any(0).sum()), int(inside.any(1).sum())


def _reach(mean_speed: float, room: tuple[float, float]) -> NDArray[np.float64]:
    """Degrees (3,) that the path stays within."""
    share = _CALM + (1 - _CALM) * min(mean_speed / _QUICK, 1.0)
    low, own, high = _ROOM
    wide, tall = (float(np.clip(own * ratio**_ROOM_POWER, low, high)) for ratio in room)
    return share * np.asarray(REACH_DEG) * (tall, wide, wide)


def _path(length: float, reach: NDArray[np.float64], generator: torch.Generator) -> NDArray[np.float64]:
    """Points (p, 3) in degrees along a path of at least `length` degrees that starts at rest."""
    phases = torch.rand((3, len(_WAVES)), generator=generator).numpy() * 2 * math.pi
    total = sum(weight for _, weight in _WAVES)
    per_unit = float(np.linalg.norm(reach)) * 0.4  # less than the mean of the path's own speed
    while True:
        place = np.arange(0.0, length / per_unit + 4 * math.pi, _STEP)
        begun = np.clip(place / math.pi, 0, 1)
        begun = begun * begun * (3 - 2 * begun)
        path = np.zeros((len(place), 3))
        for axis, pace in enumerate(_AXES):
            for (wave, weight), phase in zip(_WAVES, phases[axis], strict=True):
                path[:, axis] += weight / total * np.sin(pace * wave * place + phase)
        path *= begun[:, None] * reach
        if float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum()) >= length:
            return path
        per_unit /= 2
