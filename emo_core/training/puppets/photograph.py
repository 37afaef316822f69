"""A photograph that may become a puppet: looked at, measured, and taken or left with the reason.

In: the path of a picture. Out: a `Photograph`, or `Unfit` with a reason and what was found. The bars are those of
`BARS`; whoever is left out by one would be a bad puppet, not a bad picture.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data import Box
from ...errors import EmoInputError
from ...face.choose import face_box_of
from ...face.crop import prepare_portrait
from ...face.cut import cut, points_to_crop, soften_beyond
from ...face.detect import detect_faces
from ...face.image import read_image
from ...face.pose import head_angles
from ...face.view import crop_view
from .eyes import eye_opening
from .lips import lip_gap
from .mean_mesh import mean_mesh
from .points import CHEEKS, LEFT_CORNER, RIGHT_CORNER
from .puppet import MARGIN

Picture = NDArray[np.float32]
LOOKED_AT = 512  # pixels of the square that is measured
# What is taken: at least, at most. Degrees; pixels of the square's side; shares of E (lip gap, lids) and of the square
# (what of it lies beyond the picture's border); the mesh's belief; sharpness as `_sharpness` has it.
BARS: dict[str, tuple[float, float]] = {
    "yaw": (-12, 12), "pitch": (-9, 23), "roll": (-8, 8), "tilt": (-15, 15), "side": (240, math.inf),
    "lip gap": (0, 0.20), "lids open": (0.055, math.inf), "beyond above": (0, 0.05), "beyond beside": (0, 0.08),
    "beyond below": (0, 0.10), "beyond in all": (0, 0.16), "belief": (0.9, 1.0), "sharpness": (0.018, math.inf),
}  # fmt: skip
_ALIKE = 0.93  # correlation of two small grey copies above which they show the same picture
_SMALL = 24  # pixels of these copies
_GREY = 5.0  # chroma in Lab, below which a photograph is black and white and has no mask by its hue


class Unfit(Exception):
    """Why a picture becomes no puppet: `reason` in a word or two that can be counted, `found` in numbers."""

    def __init__(self, reason: str, found: str = "") -> None:
        super().__init__(f"{reason}: {found}" if found else reason)
        self.reason, self.found = reason, found


@dataclass(frozen=True)
class Photograph:
    """`crop_box` and `angle_deg`: the square as `prepare_portrait` cuts it; `marks` (468, 3) in the picture's pixels;
    `person`: 48 bits of the hash of the picture's pixels; `copy` (24 * 24,): a small grey copy, mean 0, deviation 1."""

    path: Path
    person: int
    crop_box: Box
    angle_deg: float
    marks: NDArray[np.float32]
    measures: dict[str, float]
    copy: NDArray[np.float32]


def look_at(path: Path) -> Photograph:
    """Measure a picture. Raises Unfit."""
    try:
        picture = read_image(path)
    except EmoInputError as error:
        raise Unfit("no picture", str(error)[:200]) from error
    faces = detect_faces(picture)
    if len(faces) != 1:
        raise Unfit("no face" if not faces else "several faces", f"{len(faces)}")
    try:
        portrait = prepare_portrait(picture, LOOKED_AT, face_box_of(faces[0].landmarks))
    except EmoInputError as error:
        raise Unfit("no portrait", str(error)[:200]) from error
    if portrait.landmarks is None:
        raise Unfit("no mesh")
    marks, belief = mean_mesh(portrait.crop, portrait.landmarks)
    measures = _measured(marks, portrait.crop) | {"belief": belief, "tilt": portrait.angle_deg}
    measures |= _beyond(portrait.crop_box, picture)
    for name, (low, high) in BARS.items():
        if not low <= measures[name] <= high:
            raise Unfit(name, f"{measures[name]:.3g}, taken are {low:g} to {high:g}")
    view = crop_view(portrait.crop_box, portrait.angle_deg)
    flat = view.to_picture(marks[:, :2].double() / LOOKED_AT)
    placed = torch.cat([flat, marks[:, 2:].double() * view.side / LOOKED_AT], dim=1).float()
    pixels = (portrait.crop.clamp(0, 1) * 255).numpy()
    _refuse_covered(pixels, marks.numpy())
    return Photograph(
        path, person_of(picture), portrait.crop_box, portrait.angle_deg, placed.numpy(), measures,
        _small_copy(portrait.crop),
    )  # fmt: skip


def person_of(picture: Tensor) -> int:
    """Who is on a picture (H, W, 3) in 0..1: 48 bits of the hash of its pixels."""
    pixels = np.round(picture.numpy() * 255).astype(np.uint8)
    return int.from_bytes(hashlib.sha256(pixels.tobytes()).digest()[:6], "big")


def alike(one: Photograph, other: Photograph) -> bool:
    """Whether two photographs show the same picture, perhaps saved twice."""
    return one.person == other.person or float(one.copy @ other.copy) / len(one.copy) > _ALIKE


@dataclass(frozen=True)
class Framing:
    """How a square is cut otherwise than `prepare_portrait` does: its side times `zoom`, moved by shares of it."""

    zoom: float = 1.0
    right: float = 0.0
    down: float = 0.0


def cut_texture(photograph: Photograph, side: int, framing: Framing | None = None) -> tuple[Picture, Picture]:
    """The square of `side` pixels with its margin (T, T, 3) 0..255 of whole numbers, T = 1.25 sides, and the mesh
    (468, 3) in it."""
    picture, framing = read_image(photograph.path), framing or Framing()
    view = crop_view(photograph.crop_box, photograph.angle_deg)
    middle = torch.tensor([0.5 + framing.right, 0.5 + framing.down], dtype=torch.float64)
    x, y = view.to_picture(middle).tolist()
    reach = view.side * framing.zoom * (1 + 2 / MARGIN) / 2
    box: Box = (x - reach, y - reach, x + reach, y + reach)
    if not photograph.angle_deg:  # `cut` takes whole pixels
        whole = float(round(2 * reach))
        box = (float(round(box[0])), float(round(box[1])), round(box[0]) + whole, round(box[1]) + whole)
    size = side + 2 * (side // MARGIN)
    square = soften_beyond(cut(picture, box, size, photograph.angle_deg), picture, box, photograph.angle_deg)
    marks = points_to_crop(torch.from_numpy(photograph.marks), box, size, photograph.angle_deg)
    return np.round(square.clamp(0, 1).numpy() * 255).astype(np.float32), marks.numpy()


def _measured(marks: Tensor, crop: Tensor) -> dict[str, float]:
    yaw, pitch, roll = head_angles(marks).tolist()
    points = marks.numpy().astype(np.float64)
    unit = float(np.linalg.norm(points[LEFT_CORNER] - points[RIGHT_CORNER]))
    return {
        "yaw": yaw, "pitch": pitch, "roll": roll, "lip gap": lip_gap(points, unit),
        "lids open": eye_opening(points, unit), "sharpness": _sharpness(crop, marks),
    }  # fmt: skip


def _sharpness(crop: Tensor, marks: Tensor) -> float:
    """Variance of the Laplacian over that of the face, 200 pixels high."""
    from scipy.ndimage import laplace, zoom

    grey = crop.mean(-1).numpy() * 255
    (x0, y0), (x1, y1) = (marks[:, :2].numpy().min(0), marks[:, :2].numpy().max(0))
    face = grey[max(0, int(y0)) : int(y1), max(0, int(x0)) : int(x1)]
    face = zoom(face, 200 / len(face), order=1)
    return float(laplace(face).var() / (face.var() + 1e-6))


def _beyond(box: Box, picture: Tensor) -> dict[str, float]:
    """The square's side in pixels and how much of it the picture does not have."""
    height, width = picture.shape[:2]
    left, top, right, bottom = box
    side = right - left
    across = max(0.0, min(right, width) - max(left, 0)) / side
    down = max(0.0, min(bottom, height) - max(top, 0)) / side
    return {
        "side": side, "beyond above": max(0.0, -top) / side, "beyond beside": max(-left, right - width, 0.0) / side,
        "beyond below": max(0.0, bottom - height) / side, "beyond in all": max(0.0, 1 - across * down),
    }  # fmt: skip


def _refuse_covered(pixels: Picture, marks: Picture) -> None:
    """Raises Unfit for sunglasses and for masks over the mouth, told by colours (tried on 3,000 portraits)."""

    def patches(points: tuple[int, ...], reach: int = 4) -> Picture:
        places = np.clip(marks[list(points), :2].astype(int), reach, len(pixels) - 1 - reach)
        return np.stack(
            [pixels[y - reach : y + reach + 1, x - reach : x + reach + 1].reshape(-1, 3) for x, y in places]
        )

    def colour(points: tuple[int, ...], reach: int = 4) -> Picture:
        return _lab(np.median(patches(points, reach).reshape(-1, 3), axis=0))

    chin, lip = colour((18, 200, 43, 273, 175, 199)), colour((17, 16, 15, 0, 11, 12), 2)
    brow = colour((9, 151, 108, 337, 8))
    if np.hypot(*brow[1:]) >= _GREY:
        bluish = chin[1] < 3 and lip[1] < 4
        other = np.hypot(*(chin - brow)[1:]) > 29.5 and np.hypot(*(lip - chin)[1:]) < 8
        if bluish or other:
            raise Unfit("mask", f"chin of Lab {np.round(chin).astype(int).tolist()}")
    cheek = float(patches((*CHEEKS, 205, 425)).mean())
    under = float(np.median(patches((230, 450, 229, 449, 119, 348, 231, 451), 3).mean((1, 2))))
    above = float(np.median(patches((27, 257, 29, 259, 28, 258, 223, 443), 3).mean((1, 2))))
    if under < 0.37 * cheek and above < 0.40 * cheek:
        raise Unfit("sunglasses", f"{under / cheek:.2f} of the cheeks' light around the eyes")


def _lab(colour: Picture) -> Picture:
    """CIE Lab (3,) of an sRGB colour 0..255 (IEC 61966-2-1, D65)."""
    linear = np.where(colour / 255 <= 0.04045, colour / 255 / 12.92, ((colour / 255 + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = to_xyz @ linear / (0.95047, 1.0, 1.08883)
    fx, fy, fz = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], np.float32)


def _small_copy(crop: Tensor) -> NDArray[np.float32]:
    from torch.nn import functional as F

    copy = F.interpolate(crop.mean(-1)[None, None], size=(_SMALL, _SMALL), mode="area").flatten()
    return ((copy - copy.mean()) / (copy.std(correction=0) + 1e-6)).numpy()
