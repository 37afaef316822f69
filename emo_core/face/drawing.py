"""Pictures that show a person what was found: in, a Portrait or a mask; out, a picture (H, W, 3) in 0..1."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data import Box, Portrait

CROP_COLOUR = (1.0, 0.75, 0.1)
FACE_COLOUR = (0.2, 0.9, 0.4)
MESH_COLOUR = (0.3, 0.8, 1.0)
SHADE = 0.35  # how bright stays what lies outside a mask


def draw_portrait(portrait: Portrait) -> Tensor:
    """The source picture with the crop's square, the face box and the mesh's points drawn into it."""
    picture = portrait.source.clone()
    left, top, right, _ = portrait.crop_box
    scale = (right - left) / portrait.crop.shape[0]
    width = max(1, round(max(picture.shape[:2]) / 300))
    if portrait.landmarks is not None:
        points = portrait.landmarks[:, :2] * scale + torch.tensor([left, top])
        _draw_points(picture, points, width)
    x0, y0, x1, y1 = (value * scale for value in portrait.face_box)
    _draw_box(picture, (left + x0, top + y0, left + x1, top + y1), FACE_COLOUR, width)
    _draw_box(picture, portrait.crop_box, CROP_COLOUR, width)
    return picture


def draw_region(picture: Tensor, mask: Tensor) -> Tensor:
    """A picture (H, W, 3), dark where the mask (H, W) is 0."""
    return picture * (SHADE + (1 - SHADE) * mask.to(picture)[..., None])


def _draw_points(picture: Tensor, points: Tensor, width: int) -> None:
    for x, y in points.round().long().tolist():
        _fill(picture, (x, y, x + width, y + width), MESH_COLOUR)


def _draw_box(picture: Tensor, box: Box, colour: tuple[float, float, float], width: int) -> None:
    """The outline of a box."""
    left, top, right, bottom = (round(value) for value in box)
    _fill(picture, (left, top, right, top + width), colour)
    _fill(picture, (left, bottom - width, right, bottom), colour)
    _fill(picture, (left, top, left + width, bottom), colour)
    _fill(picture, (right - width, top, right, bottom), colour)


def _fill(picture: Tensor, box: tuple[int, int, int, int], colour: tuple[float, float, float]) -> None:
    """Paint a box (left, top, right, bottom), as far as it lies in the picture."""
    height, width = picture.shape[:2]
    left, right = (min(max(x, 0), width) for x in (box[0], box[2]))
    top, bottom = (min(max(y, 0), height) for y in (box[1], box[3]))
    picture[top:bottom, left:right] = torch.tensor(colour)
