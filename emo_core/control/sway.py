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

from .voice import hann_mean

REACH_DEG = (5.5, 9.0, 3.5)  # pitch, yaw, roll at the widest: what training/heads/performance.py draws
_CALM, _QUICK = 0.5, 1.5  # share of the reach for a head that hardly moves; degrees per frame at which it is all used
_ROOM = (0.25, 0.8, 1.0)  # share of the reach in a narrow face region, in the portrait's own, in a wide one
_ROOM_POWER = 1.3  # of the region's side over its own
_SWAY = (1.3, 1.0, 0.8)  # pitch, yaw, roll: the smaller wave, so that the path does not repeat itself
_SWAY_PACE, _SWAY_WEIGHT = 0.61, 0.2
_ROLL_PACE = 0.73  # of the yaw's
_LEAD, _LEAD_PACE = 0.3, 0.17  # the nod runs a quarter wave from the turn, by so many radians more or less
_EVEN = 0.1  # 0: at the speed asked for even where the path turns, sharply; 1: slowing down there as a wave does
_STEP = 0.02  # of the path's parameter
_REST = 0.05  # degrees per frame between the stressed words
_QUICKEST = 2.2  # degrees per frame: as far as heads were trained to go
_BUMP_S = 0.3  # how softly a movement sets in
_OFTEN = 0.15  # a voice stressed less than this share of the time moves the head less, not more violently
_WHIMS_S, _WHIMS = 0.6, 0.7  # how long a whim lasts and how far it goes (deviation of its logarithm)


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
    reach = _reach(float(np.median(steps[1:])), room)  # a head that mostly rests stays near the portrait
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


def own_pace(stress: Tensor, *, fps: float, mean: float, generator: torch.Generator) -> Tensor:
    """Speeds (f,) of a head that nobody asks for one, in degrees per frame around `mean`: it moves with what the voice
    stresses (f,), 0..1, more at one word than at another, and rests between; through silence it hardly moves."""
    frames = len(stress)
    knots = math.ceil(frames / fps / _WHIMS_S) + 3
    whims = torch.randn(knots, generator=generator)
    place = torch.arange(frames) / fps / _WHIMS_S + 1
    left, share = place.floor().long(), place % 1
    whim = torch.exp(_WHIMS * torch.lerp(whims[left], whims[left + 1], share * share * (3 - 2 * share)) - _WHIMS**2 / 2)
    moves = hann_mean(stress, max(1, round(_BUMP_S * fps))) * whim
    rest = min(_REST, mean)
    pace = rest + (mean - rest) * moves / max(float(moves.mean()), _OFTEN)
    return pace.clamp(max=_QUICKEST)


def room_in(region: Tensor, own: Tensor) -> tuple[float, float]:
    """Width and height of a face region (..., H, W), of masks over time that of all together, over those of the
    portrait's own (H, W)."""
    asked, given = _extent(region.flatten(0, -3).amax(0) if region.ndim > 2 else region), _extent(own)
    return tuple(a / b if a and b else 1.0 for a, b in zip(asked, given, strict=True))  # type: ignore[return-value]


def _extent(mask: Tensor) -> tuple[int, int]:
    inside = mask > 0.5
    return int(inside.any(0).sum()), int(inside.any(1).sum())


def _reach(speed: float, room: tuple[float, float]) -> NDArray[np.float64]:
    """Degrees (3,) that the path stays within."""
    share = _CALM + (1 - _CALM) * min(speed / _QUICK, 1.0)
    low, own, high = _ROOM
    wide, tall = (float(np.clip(own * ratio**_ROOM_POWER, low, high)) for ratio in room)
    return share * np.asarray(REACH_DEG) * (tall, wide, wide)


def _path(length: float, reach: NDArray[np.float64], generator: torch.Generator) -> NDArray[np.float64]:
    """Points (p, 3) in degrees along a path of at least `length` degrees that starts at rest.

    Turn and nod are a quarter wave apart: the head goes through curves. Where both turn back at once it would have to
    stop and start, and no speed would hold.
    """
    first, second = torch.rand((2, 3), generator=generator).numpy() * 2 * math.pi
    way = 1.0 if float(torch.rand((), generator=generator)) < 0.5 else -1.0
    per_unit = float(np.linalg.norm(reach)) * 0.4  # less than the mean of the path's own speed
    while True:
        place = np.arange(0.0, length / per_unit + 4 * math.pi, _STEP)
        begun = np.clip(place / math.pi, 0, 1)
        begun = begun * begun * (3 - 2 * begun)
        lead = way * math.pi / 2 + _LEAD * np.sin(_LEAD_PACE * place + first[0])
        waves = np.stack([place + first[1] + lead, place + first[1], _ROLL_PACE * place + first[2]], axis=1)
        small = _SWAY_PACE * place[:, None] * _SWAY + second
        path = (np.sin(waves) + _SWAY_WEIGHT * np.sin(small)) / (1 + _SWAY_WEIGHT)
        path *= begun[:, None] * reach
        if float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum()) >= length:
            return path
        per_unit /= 2
