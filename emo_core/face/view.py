"""A square, possibly turned, view into a picture: what the detector and the mesh look at, and the way back.

In: a picture (H, W, 3) float 0..1, or its `Pyramid`, and a `View`. Out: (3, size, size), black outside the picture,
antialiased when it shrinks. `View.to_picture` maps points of the view (as fractions of its side) back to the picture's
pixels, `View.from_picture` the other way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import Box

LEVEL_SIDE = 1024  # pixels of the longer side; smaller pictures have no smaller copies


@dataclass(frozen=True)
class View:
    """Centre and side in the picture's pixels; `angle` in radians, clockwise as seen (y points down)."""

    centre_x: float
    centre_y: float
    side: float
    angle: float = 0.0

    def to_picture(self, points: Tensor) -> Tensor:
        """Points (..., 2) as fractions of the view's side -> pixels of the picture."""
        x, y = ((points[..., i] - 0.5) * self.side for i in (0, 1))
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return torch.stack([self.centre_x + x * cos - y * sin, self.centre_y + x * sin + y * cos], dim=-1)

    def from_picture(self, points: Tensor) -> Tensor:
        """Points (..., 2) of the picture, in pixels -> fractions of the view's side."""
        x, y = points[..., 0] - self.centre_x, points[..., 1] - self.centre_y
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return torch.stack([x * cos + y * sin, y * cos - x * sin], dim=-1) / self.side + 0.5

    def scaled(self, scale: float) -> View:
        """The same view into the picture made `scale` times as large."""
        return View(self.centre_x * scale, self.centre_y * scale, self.side * scale, self.angle)


class Pyramid:
    """A picture (H, W, 3) and smaller copies of it, each half as large and made when first asked for: any number of
    views costs no more in a picture of 8k than in one of `LEVEL_SIDE` pixels.
    """

    def __init__(self, image: Tensor) -> None:
        self.image = image
        self._levels = [image]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return int(self.image.shape[0]), int(self.image.shape[1])

    def level(self, view: View, size: int) -> tuple[Tensor, View]:
        """The smallest copy that still has two pixels for each of the view's `size`, and the view into it."""
        number = 0
        while view.side / 2 ** (number + 1) >= 2 * size and max(self.shape) / 2 ** (number + 1) >= LEVEL_SIDE:
            number += 1
        while len(self._levels) <= number:
            self._levels.append(_halved(self._levels[-1]))
        return self._levels[number], view.scaled(0.5**number)


def whole_view(image: Tensor | Pyramid, *, grow: float = 1.0, angle: float = 0.0) -> View:
    """The square around the whole picture, `grow` times as large as it need be."""
    height, width = image.shape[:2]
    return View(width / 2, height / 2, max(height, width) * grow, angle)


def view_around(box: Box, *, grow: float, angle: float = 0.0) -> View:
    """A square around a box: the box's longer side times `grow`."""
    left, top, right, bottom = box
    return View((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) * grow, angle)


def crop_view(crop_box: Box, angle_deg: float = 0.0) -> View:
    """The view that a portrait's crop is: its square in the picture, turned about its middle."""
    left, top, right, bottom = crop_box
    return View((left + right) / 2, (top + bottom) / 2, right - left, math.radians(angle_deg))


def look(image: Tensor | Pyramid, view: View, size: int) -> Tensor:
    """Sample a view of a picture (H, W, 3) at size x size. Returns (3, size, size)."""
    if isinstance(image, Pyramid):
        image, view = image.level(view, size)
    region, left, top = _region(image, view)
    if region.shape[1] == 0 or region.shape[2] == 0:
        return image.new_zeros(3, size, size)
    shrink = min(1.0, size / view.side)
    if shrink < 1:  # only then can sampling alias
        shape = [max(1, round(n * shrink)) for n in region.shape[1:]]
        scaled = F.interpolate(region[None], size=shape, mode="bilinear", antialias=True, align_corners=False)[0]
    else:
        scaled = region
    steps = (torch.arange(size, dtype=torch.float32, device=image.device) + 0.5) / size
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    grid = view.to_picture(torch.stack([x, y], dim=-1)) - torch.tensor([left, top], device=image.device)
    grid = grid / torch.tensor([region.shape[2], region.shape[1]], device=image.device) * 2 - 1
    return F.grid_sample(scaled[None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False)[0]


def _region(image: Tensor, view: View) -> tuple[Tensor, int, int]:
    """The part of the picture that a view can touch, (3, h, w), and where it starts: an 8k picture is not copied."""
    height, width = image.shape[:2]
    reach = view.side / 2 * (abs(math.cos(view.angle)) + abs(math.sin(view.angle))) + 2
    left, right = max(0, math.floor(view.centre_x - reach)), min(width, math.ceil(view.centre_x + reach))
    top, bottom = max(0, math.floor(view.centre_y - reach)), min(height, math.ceil(view.centre_y + reach))
    return image[top : max(top, bottom), left : max(left, right)].permute(2, 0, 1), left, top


def _halved(image: Tensor) -> Tensor:
    """(H, W, 3) -> (H / 2, W / 2, 3), the mean of every four pixels; an odd last row or column goes."""
    return F.avg_pool2d(image.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0)
