"""The picture that V-Express's guider reads in place of a face region: eyes and nose, and a stick from each eye.

In: a portrait's three points. Out: (3, H, W) in 0..1. Colours, sticks (half-bright ellipses, 4 pixels to each side at
512) and dots (radius 4) are V-Express's; on black, eyes red (left in the picture) and green, nose blue.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..data import Portrait

MESH = ((33, 133), (362, 263), (4,))  # corners of each eye, whose middle counts, and the tip of the nose
COLOURS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
STICK_BRIGHTNESS = 0.6
REACH = 4.0 / 512  # of the picture's side: half the width of a stick, radius of a dot


def key_points(portrait: Portrait) -> Tensor:
    """Eyes and nose (3, 2) as shares of the crop's side; without a mesh, where a face box has them."""
    size = portrait.crop.shape[0]
    if portrait.landmarks is not None:
        points = portrait.landmarks[:, :2]
        return torch.stack([points[list(ids)].mean(dim=0) for ids in MESH]) / size
    left, top, right, bottom = portrait.face_box
    shares = torch.tensor([[0.31, 0.36], [0.69, 0.36], [0.5, 0.58]])
    return (torch.tensor([left, top]) + shares * torch.tensor([right - left, bottom - top])) / size


def key_point_picture(points: Tensor, size: int) -> Tensor:
    """Points (3, 2) of `key_points` -> (3, size, size)."""
    places = points.to("cpu", torch.float32) * size
    middle = torch.arange(size, dtype=torch.float32)
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    here = torch.stack([x, y], dim=-1)
    picture = torch.zeros(size, size, 3)
    reach = REACH * size
    for eye in (0, 1):
        along = places[eye] - places[2]
        length = along.norm().clamp(min=1e-6)
        way = along / length
        away = here - (places[eye] + places[2]) / 2
        ahead, aside = away @ way, away @ torch.stack([-way[1], way[0]])
        picture[(ahead / (length / 2)) ** 2 + (aside / reach) ** 2 <= 1] = torch.tensor(COLOURS[eye]) * STICK_BRIGHTNESS
    for place, colour in zip(places, COLOURS, strict=True):
        picture[(here - place).norm(dim=-1) <= reach] = torch.tensor(colour)
    return picture.permute(2, 0, 1)
