"""How fast a head turns: in, the face mesh of every frame; out, degrees away from the video's mean pose, and per frame.

A linear layer on the points that speech does not move, fitted by `train_readers` on rendered heads whose pose is
known. `face/pose.rotation_speed`, which reads driving videos, needs no fitting and follows a head however far it turns,
but the mesh's depth is not the head's: it shows a nod as 0.78 of what it is and a turn aside as 1.2 (60 rendered
heads), so that a head on an even path seems to hurry and to dawdle.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..face.pose import RIGID_POINTS, rigid_shape
from .bundled import with_weights

REACH = 2  # frames on each side that a speed is read from: 1.05 of the mean of unseen heads, 1.02 of its variance


class TurnReader(nn.Module):
    """Features (f, 33) of `turn_features` -> pitch, yaw, roll (f, 3) in degrees, as training/heads counts them."""

    weights = "turn_reader.safetensors"

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * len(RIGID_POINTS), 3, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features)


@functools.cache
def turn_reader() -> TurnReader:
    """The reader with its bundled weights, once per process."""
    return with_weights(TurnReader(), TurnReader.weights)


def turn_features(landmarks: Tensor) -> Tensor:
    """Landmarks (f, 468, 3) of one video -> (f, 33): the points' places less those of the mean frame."""
    points = rigid_shape(landmarks.float())
    return (points - points.mean(0)).flatten(1)


def read_turns(landmarks: Tensor) -> NDArray[np.float32]:
    """Landmarks (f, 468, 3) of one video -> pitch, yaw, roll (f, 3) in degrees away from its mean pose."""
    with torch.no_grad():
        return np.asarray(turn_reader()(turn_features(landmarks)).numpy(), np.float32)


def speed_of_turns(turns: NDArray[np.floating], reach: int = REACH) -> NDArray[np.float32]:
    """Poses (f, 3) in degrees -> degrees per frame (f,): the slope of the straight line through the frames around each;
    the ends take that of the first and the last whole window. 0 for a single frame."""
    frames = len(turns)
    if frames < 2:
        return np.zeros(frames, np.float32)
    width = min(2 * reach + 1, frames)
    places = np.arange(width) - (width - 1) / 2
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(turns, np.float64), width, axis=0)
    speed = np.linalg.norm(windows @ places / np.square(places).sum(), axis=1)
    before = (width - 1) // 2
    return np.pad(speed, (before, width - 1 - before), mode="edge").astype(np.float32)
