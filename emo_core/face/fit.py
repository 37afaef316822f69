"""A portrait whose picture is too large for the video it goes into, made smaller once instead of every frame.

In: a `Portrait` and a width and height of its picture's shape. Out: the same portrait in a picture of that size.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from ..data import Box, Portrait
from .cut import resized

log = logging.getLogger(__name__)


def fitted(portrait: Portrait, size: tuple[int, int]) -> Portrait:
    """The portrait with its picture at `size` (width, height), and its square where it belongs there. What the network
    sees of it stays as it is. As it is where it has that size; otherwise the log says so."""
    height, width = portrait.source.shape[:2]
    if (width, height) == size:
        return portrait
    log.warning("the picture of %dx%d pixels is written at %dx%d, the most for this video", width, height, *size)
    x, y = size[0] / width, size[1] / height
    left, top, right, bottom = portrait.crop_box
    side = (right - left) * (x * y) ** 0.5
    centre_x, centre_y = (left + right) / 2 * x, (top + bottom) / 2 * y
    if not portrait.angle_deg:  # whole pixels, as `prepare_portrait` makes them
        side = max(1, round(side))
        centre_x, centre_y = (round(centre - side / 2) + side / 2 for centre in (centre_x, centre_y))
    box: Box = (centre_x - side / 2, centre_y - side / 2, centre_x + side / 2, centre_y + side / 2)
    source = resized(portrait.source.permute(2, 0, 1), size[1], size[0]).permute(1, 2, 0).contiguous()
    faces = tuple((face[0] * x, face[1] * y, face[2] * x, face[3] * y) for face in portrait.faces)
    return replace(portrait, source=source, crop_box=box, faces=faces)
