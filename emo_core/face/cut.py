"""The square that a portrait is: cut out of its picture, and points and boxes carried into it.

In: a picture (H, W, 3) float 0..1, the square's place in it, by how much it is turned about its middle. Out: pictures
(size, size, 3), boxes and points in the crop's pixels. What lies outside the picture is filled with its edge, and
further out with its colours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import Box
from .view import crop_view

LARGE = 64_000_000  # pixels
STREAK_SHARE = 0.08  # of the crop's side: by so far beyond the border its streaks have gone over into plain colours


def cut(image: Tensor, crop_box: Box, size: int, angle_deg: float = 0.0) -> Tensor:
    """The square of a picture (H, W, 3) as (size, size, 3), antialiased; its edge is repeated beyond its borders.

    Upright squares are of whole pixels. A turned one is sampled at twice the size and then made smaller; so is one that
    lies mostly outside of its picture and would take gigabytes.
    """
    if angle_deg or (crop_box[2] - crop_box[0]) ** 2 > max(LARGE, 4 * image.shape[0] * image.shape[1]):
        return _cut_turned(image, crop_box, size, angle_deg)
    left, top, right, bottom = (round(v) for v in crop_box)
    height, width = image.shape[:2]
    rows = torch.arange(top, bottom).clamp(0, height - 1)
    columns = torch.arange(left, right).clamp(0, width - 1)
    square = image[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    square = square[rows - rows[0]][:, columns - columns[0]].permute(2, 0, 1)
    return resized(square, size, size).permute(1, 2, 0).contiguous()


def soften_beyond(crop: Tensor, image: Tensor, crop_box: Box, angle_deg: float = 0.0) -> Tensor:
    """A crop (size, size, 3) from `cut`: streaks of the repeated edge go over into the colours around them."""
    size, (height, width) = crop.shape[0], image.shape[:2]
    steps = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    places = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
    x, y = crop_view(crop_box, angle_deg).to_picture(places).unbind(-1)
    beyond = torch.stack([-x, x - width, -y, y - height]).amax(0).clamp(min=0) / (crop_box[2] - crop_box[0])
    if not bool((beyond > 0).any()) or bool((beyond > 0).all()):
        return crop
    ramp = (beyond / STREAK_SHARE).clamp(max=1)
    weight = (ramp * ramp * (3 - 2 * ramp)).float()[..., None]
    return torch.lerp(crop, _filled(crop, beyond == 0), weight)


def _filled(picture: Tensor, known: Tensor) -> Tensor:
    """A picture (H, W, 3) whose unknown pixels take the mean colour of what is known near them: pull and push through
    smaller and smaller copies."""
    weight = known.to(picture)[None, None]
    colour = picture.permute(2, 0, 1)[None] * weight
    copies = [(colour, weight)]
    while max(weight.shape[-2:]) > 1:
        shape = [(n + 1) // 2 for n in weight.shape[-2:]]
        colour, weight = (F.interpolate(part, size=shape, mode="area") for part in (colour, weight))
        copies.append((colour, weight))
    fill = colour / weight.clamp(min=1e-6)
    for colour, weight in reversed(copies[:-1]):
        coarse = F.interpolate(fill, size=weight.shape[-2:], mode="bilinear", align_corners=False)
        fill = colour + coarse * (1 - weight)
    return fill[0].permute(1, 2, 0)


def box_to_crop(box: Box, crop_box: Box, size: int, angle_deg: float = 0.0) -> Box:
    """A box in the picture's pixels -> the crop's; of a turned one, the upright box around its corners."""
    left, top, right, bottom = box
    corners = torch.tensor([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=torch.float64)
    placed = crop_view(crop_box, angle_deg).from_picture(corners) * size
    (x0, y0), (x1, y1) = placed[0].tolist(), placed[2].tolist()
    if angle_deg:
        (x0, y0), (x1, y1) = placed.amin(0).tolist(), placed.amax(0).tolist()
    return x0, y0, x1, y1


def points_to_crop(points: Tensor, crop_box: Box, size: int, angle_deg: float = 0.0) -> Tensor:
    """Landmarks (..., 3) in the picture's pixels -> the crop's; depth is scaled with them."""
    view = crop_view(crop_box, angle_deg)
    flat = view.from_picture(points[..., :2].double()).to(points.dtype) * size
    return torch.cat([flat, points[..., 2:] * (size / view.side)], dim=-1)


def resized(picture: Tensor, height: int, width: int) -> Tensor:
    """(c, h, w) at another size, antialiased, in 0..1."""
    scaled = F.interpolate(picture[None], size=(height, width), mode="bicubic", antialias=True, align_corners=False)
    return scaled[0].clamp(0, 1)


def _cut_turned(image: Tensor, crop_box: Box, size: int, angle_deg: float) -> Tensor:
    view = crop_view(crop_box, angle_deg)
    height, width = image.shape[:2]
    reach = view.side / 2 * (abs(math.cos(view.angle)) + abs(math.sin(view.angle))) + 2
    left, right = _span(view.centre_x, reach, width)
    top, bottom = _span(view.centre_y, reach, height)
    part = image[top:bottom, left:right].permute(2, 0, 1)
    shrink = min(1.0, 2 * size / view.side)
    if shrink < 1:  # so much is lost in any case; what is left is sampled finely enough
        part = resized(part, *(max(1, round(n * shrink)) for n in part.shape[1:]))
    steps = (torch.arange(2 * size, dtype=torch.float64) + 0.5) / (2 * size)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    grid = view.to_picture(torch.stack([x, y], dim=-1)) - torch.tensor([left, top])
    grid = (grid / torch.tensor([right - left, bottom - top]) * 2 - 1).float()
    seen = F.grid_sample(part[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False)[0]
    return resized(seen, size, size).permute(1, 2, 0).contiguous()


def _span(centre: float, reach: float, length: int) -> tuple[int, int]:
    """The whole pixels within `reach` of a place, as far as there are any, and at least the nearest one."""
    low = min(max(math.floor(centre - reach), 0), length - 1)
    return low, max(low + 1, min(math.ceil(centre + reach), length))
