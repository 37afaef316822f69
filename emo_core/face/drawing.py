"""Pictures that show a person what was found: in, a Portrait or a mask; out, a picture (H, W, 3) in 0..1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..data import Box, Portrait
from .cut import resized
from .region import DEFAULT_EXPAND, grow_box
from .view import View, crop_view

if TYPE_CHECKING:
    from PIL import ImageDraw

Colour = tuple[float, float, float]

CROP_COLOUR = (1.0, 0.75, 0.1)
FACE_COLOUR = (0.2, 0.9, 0.4)
REGION_COLOUR = (1.0, 0.45, 0.85)
OTHER_COLOUR = (0.85, 0.85, 0.85)
MESH_COLOUR = (0.3, 0.8, 1.0)
SHADE = 0.35  # how bright stays what lies outside a mask
MAX_PREVIEW_SIDE = 1536  # pixels; a picture of 8k is shown smaller
LINES_PER_SIDE = 300  # a line is as thick as one of so many parts of the longer side
DOTS_PER_CROP = 150  # and a point of the mesh is no larger than one of so many parts of the crop's
SMALL_CROP, INSET = 0.15, 0.4  # a crop smaller than that share of the picture is shown enlarged, as large as this one


def draw_portrait(portrait: Portrait, *, expand: float = DEFAULT_EXPAND) -> Tensor:
    """The source picture, at most MAX_PREVIEW_SIDE pixels wide and high, with what was found drawn into it.

    The crop's square, the face box and the mesh's points; the face region of a video without controls, the box grown by
    `expand`; the other faces with the numbers that an index counts; a small crop once more, enlarged; and the
    portrait's notes in words.
    """
    picture, scale = _fitted(portrait.source)
    thick = max(1, round(max(picture.shape[:2]) / LINES_PER_SIDE))
    size = portrait.crop.shape[0]
    view = crop_view(portrait.crop_box, portrait.angle_deg).scaled(scale)
    canvas, draw = _canvas(picture)
    if portrait.landmarks is not None:
        reach = min(thick, view.side / DOTS_PER_CROP) / 2
        for x, y in view.to_picture(portrait.landmarks[:, :2] / size).tolist():
            draw.rectangle((x - reach, y - reach, x + reach, y + reach), fill=_bytes(MESH_COLOUR))
    for number, box in enumerate(portrait.faces if len(portrait.faces) > 1 else ()):
        corners = torch.tensor(box) * scale
        _outline(draw, [(float(corners[i]), float(corners[j])) for i, j in _CORNERS], OTHER_COLOUR, thick)
        _words(draw, str(number), (float(corners[0]), float(corners[1])), thick * 6, OTHER_COLOUR)
    region = grow_box(portrait.face_box, expand, expand)
    square = (0.0, 0.0, float(size), float(size))
    for box, colour in ((region, REGION_COLOUR), (portrait.face_box, FACE_COLOUR), (square, CROP_COLOUR)):
        _outline(draw, _corners(box, view, size), colour, thick)
    if view.side < SMALL_CROP * max(picture.shape[:2]):
        canvas.paste(*_enlarged(portrait, picture, view))
    for row, note in enumerate(reversed(portrait.notes)):
        _words(draw, note, (thick * 2, picture.shape[0] - (row + 1) * thick * 7), thick * 5, (1.0, 1.0, 1.0))
    return torch.from_numpy(np.array(canvas)).float() / 255


def _enlarged(portrait: Portrait, picture: Tensor, view: View) -> tuple[Any, tuple[int, int]]:
    """The crop with its mesh in a yellow frame, for a face that is too small to see, and the corner away from it."""
    side = max(8, round(min(picture.shape[:2]) * INSET))
    crop = resized(portrait.crop.permute(2, 0, 1), side, side).permute(1, 2, 0)
    canvas, draw = _canvas(crop)
    if portrait.landmarks is not None:
        reach = side / DOTS_PER_CROP / 2
        for x, y in (portrait.landmarks[:, :2] * (side / portrait.crop.shape[0])).tolist():
            draw.rectangle((x - reach, y - reach, x + reach, y + reach), fill=_bytes(MESH_COLOUR))
    draw.rectangle((0, 0, side - 1, side - 1), outline=_bytes(CROP_COLOUR), width=max(1, side // 100))
    left = 0 if view.centre_x > picture.shape[1] / 2 else picture.shape[1] - side
    return canvas, (left, 0)


def draw_region(picture: Tensor, mask: Tensor) -> Tensor:
    """A picture (H, W, 3), dark where the mask (H, W) is 0."""
    return picture * (SHADE + (1 - SHADE) * mask.to(picture)[..., None])


_CORNERS = ((0, 1), (2, 1), (2, 3), (0, 3))  # x and y of a box's corners, clockwise


def _fitted(picture: Tensor) -> tuple[Tensor, float]:
    """The picture, made smaller if it is larger than a preview, and by how much."""
    height, width = picture.shape[:2]
    scale = min(1.0, MAX_PREVIEW_SIDE / max(height, width))
    if scale == 1.0:
        return picture, 1.0
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    return resized(picture.permute(2, 0, 1), *shape).permute(1, 2, 0), scale


def _canvas(picture: Tensor) -> tuple[Any, ImageDraw.ImageDraw]:
    from PIL import Image, ImageDraw  # only where something is drawn

    canvas = Image.fromarray((picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
    return canvas, ImageDraw.Draw(canvas)


def _corners(box: Box, view: View, size: int) -> list[tuple[float, float]]:
    """The corners of a box in the crop's pixels, in the preview's."""
    places = view.to_picture(torch.tensor([[box[i], box[j]] for i, j in _CORNERS]) / size)
    return [(x, y) for x, y in places.tolist()]


def _outline(draw: ImageDraw.ImageDraw, corners: list[tuple[float, float]], colour: Colour, thick: int) -> None:
    """A closed line through the middles of its corners' pixels, `thick` wide, inside the corners."""
    x, y = sum(c[0] for c in corners) / 4, sum(c[1] for c in corners) / 4
    inner = [(a + _towards(x - a, thick / 2), b + _towards(y - b, thick / 2)) for a, b in corners]
    draw.line([*inner, inner[0], inner[1]], fill=_bytes(colour), width=thick, joint="curve")


def _towards(way: float, step: float) -> float:
    """Half a line's width inwards, in whole pixels' terms: the last pixel before a border at x is x - 1."""
    return step - 0.5 if way > 0 else -step - 0.5


def _words(draw: ImageDraw.ImageDraw, text: str, place: tuple[float, float], height: int, colour: Colour) -> None:
    """Text on a dark ground; `place` is its top left corner."""
    from PIL import ImageFont

    try:
        font: Any = ImageFont.load_default(max(10, height))
    except TypeError:  # Pillow before 10.1 has one size only
        font = ImageFont.load_default()
    left, top, right, bottom = draw.textbbox(place, text, font=font)
    draw.rectangle((left - 3, top - 3, right + 3, bottom + 3), fill=(0, 0, 0))
    draw.text(place, text, fill=_bytes(colour), font=font)


def _bytes(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (round(value * 255) for value in colour)
    return red, green, blue
