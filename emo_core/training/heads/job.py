"""One clip to draw: who, how, with which mouth. Plain values, for those too who draw nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .performance import Style

Array = NDArray[np.float32]


@dataclass(frozen=True)
class HeadJob:
    """One clip to draw. `mouth[name]` (f,) or None for a closed mouth; `loudness` (f,) 0..1; own `seed`."""

    identity: int
    style: Style
    speed: float | None
    mouth: Mapping[str, Array] | None
    loudness: Array
    utterance: str
    split: str
    seed: int = 0
    rest_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)  # pitch, yaw, roll: how the head is held
