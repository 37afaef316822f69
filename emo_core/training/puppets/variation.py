"""What makes several clips of one photograph differ, and photographs from other people's: side, framing, light, the
camera's compression, and how far this person's face moves. Drawn from a seed.

All but the gains change the photograph before anything is made of it: so frames, reference and truth agree whatever
is drawn. A mirrored photograph is another person to everything that follows.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..clips import ACTIONS
from .photograph import Framing
from .template import load_template

Picture = NDArray[np.float32]
GAINS = (0.85, 1.15)  # of each action, left and right alike
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_GREY_SHARE = 0.05  # of photographs are made black and white


@dataclass(frozen=True)
class Variation:
    """`gain`, `gamma`, `balance` (of red, green, blue) and `saturation` of the light; `quality` of the JPEG, None for
    none; `gains` by the names of actions."""

    mirrored: bool = False
    framing: Framing = field(default_factory=Framing)
    gain: float = 1.0
    gamma: float = 1.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    saturation: float = 1.0
    quality: int | None = None
    gains: Mapping[str, float] = field(default_factory=dict)


def draw_variation(rng: np.random.Generator, *, plain: bool = False) -> Variation:
    """`plain`: the photograph as it is, with the person's own gains, as tests show it."""
    sides = {name.removesuffix("Left").removesuffix("Right") for name in ACTIONS}
    by_name = dict(zip(sorted(sides), rng.uniform(*GAINS, len(sides)), strict=True))
    gains = {name: float(by_name[name.removesuffix("Left").removesuffix("Right")]) for name in ACTIONS}
    if plain:
        return Variation(gains=gains)
    balance = 1 + np.clip(rng.normal(0, 0.03, 3), -0.08, 0.08)
    return Variation(
        mirrored=bool(rng.random() < 0.5),
        framing=Framing(float(rng.uniform(0.94, 1.06)), *map(float, rng.uniform(-0.025, 0.025, 2))),
        gain=float(np.clip(np.exp(rng.normal(-0.03, 0.08)), 0.75, 1.08)),
        gamma=float(np.exp(rng.normal(0, 0.10))),
        balance=(float(balance[0]), float(balance[1]), float(balance[2])),
        saturation=0.0 if rng.random() < _GREY_SHARE else float(rng.uniform(0.75, 1.15)),
        quality=int(rng.integers(55, 96)) if rng.random() < 0.5 else None,
        gains=gains,
    )


def varied(texture: Picture, marks: Picture, variation: Variation) -> tuple[Picture, Picture]:
    """The photograph (T, T, 3) 0..255 of whole numbers and its mesh (468, 3), as the variation has them."""
    if variation.mirrored:
        texture = texture[:, ::-1]
        marks = marks[load_template().mirror] * (-1, 1, 1) + (texture.shape[1], 0, 0)
    texture = _lit(texture, variation)
    if variation.quality is not None:
        texture = _compressed(texture, variation.quality)
    return np.ascontiguousarray(texture, np.float32), np.asarray(marks, np.float32)


def _lit(texture: Picture, variation: Variation) -> Picture:
    plain = Variation()
    if (variation.gain, variation.gamma, variation.balance, variation.saturation) == (
        plain.gain, plain.gamma, plain.balance, plain.saturation
    ):  # fmt: skip
        return texture
    lit = (texture / 255) ** variation.gamma * variation.gain * np.asarray(variation.balance, np.float32)
    grey = (lit @ _LUMA)[..., None]
    lit = grey + variation.saturation * (lit - grey)
    return np.asarray(np.round(np.clip(lit, 0, 1) * 255), np.float32)


def _compressed(texture: Picture, quality: int) -> Picture:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(texture.astype(np.uint8)).save(file, format="JPEG", quality=quality)
    with Image.open(file) as picture:
        return np.asarray(picture, np.float32)
