"""The face region of a clip: where the face may be, one mask for all its frames (EMO section 3.2, "Face Locator").

In: boxes of the frames (training: their union, M = union of M_i), or the portrait's own box, grown, or a user's box or
mask of any size. Out: (H, W) float in 0..1 at the crop's size, 1 where the face may be. A wide region lets the head
swing, a tall one lets it nod, all ones is no guidance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import Box, Portrait, check_box
from ..errors import EmoInputError, empty_batch
from .mask import Over, over_crop, over_picture

DEFAULT_EXPAND = 0.15  # of the box's width and height on each side; a talking head needs some room
MIN_MASK_VALUE = 0.05  # a mask that nowhere exceeds it is empty


def face_region_mask(
    region: Tensor | Box | None,
    size: int,
    portrait: Portrait | None = None,
    *,
    side: int | None = None,
    expand_x: float = DEFAULT_EXPAND,
    expand_y: float = DEFAULT_EXPAND,
    feather: float = 0.0,
    name: str = "face_region",
) -> Tensor:
    """The region as a mask (size, size).

    `region`: a mask (h, w) or (1, h, w), resized and used as it is; a box (left, top, right, bottom) in the crop's
    pixels, used as it is; None: the portrait's face box, grown by `expand_x` of its width and `expand_y` of its height
    on each side. `side`: the crop's, in whose pixels a box is; None: `size`. `feather`: softness of the border, as a
    share of `size`. `name` is the input it came from.
    """
    if isinstance(region, Tensor):
        mask = _from_mask(region, size, name)
    elif region is not None:
        mask = box_mask(region if side in (None, size) else _scaled(check_box(region, name), size / side), size)
    elif portrait is not None:
        grown = grow_box(portrait.face_box, expand_x, expand_y)
        mask = box_mask(_scaled(grown, size / portrait.crop.shape[0]), size)
    else:
        raise EmoInputError("face_region", "nothing", "a mask, a box or a portrait")
    if not bool((mask > MIN_MASK_VALUE).any()):
        remedy = "Paint where the face may move; an all-white mask leaves it free."
        raise EmoInputError(name, "an empty mask", "some of it white", remedy)
    return soften(mask, feather * size) if feather > 0 else mask


def region_from_masks(
    masks: Tensor, portrait: Portrait | None = None, *, over: Over = "auto", name: str = "mask"
) -> Tensor:
    """One region (h, w) from masks (h, w) or (b, h, w): where any of them is white, as in training.

    `over` says what they lie over: the portrait's whole "picture", its "crop", or what their size says (see mask.py);
    without a portrait it is the crop. Raises EmoInputError, about the input `name`, for masks that are empty there, not
    finite, or of a shape that cannot be meant.
    """
    if masks.ndim == 3 and len(masks) == 0:
        raise empty_batch(name, "mask")
    if masks.ndim not in (2, 3) or 0 in masks.shape:
        raise EmoInputError(name, f"a tensor of shape {tuple(masks.shape)}", "(h, w) or (b, h, w)")
    masks = masks.detach().to("cpu", torch.float32)
    mask = over_crop(_finite(masks.amax(0) if masks.ndim == 3 else masks, name), portrait, over=over, name=name)
    return face_region_mask(mask, max(mask.shape) if portrait is None else portrait.crop.shape[0], name=name)


def regions_over_time(masks: Tensor, portrait: Portrait | None = None, *, over: Over = "auto") -> Tensor:
    """Regions (m, h, w) from masks (m, h, w) spread over the video's time, each made as by `region_from_masks`. An
    empty mask (no face was found there) is taken from its neighbour. Raises EmoInputError where all are empty."""
    if masks.ndim != 3 or len(masks) < 2:
        found = f"a tensor of shape {tuple(masks.shape)}"
        raise EmoInputError("mask", found, "(m, h, w), at least two masks", "Turn over_time off for a single mask.")
    seen = [index for index, mask in enumerate(masks) if bool((mask > MIN_MASK_VALUE).any())]
    if not seen:
        raise EmoInputError("mask", f"{len(masks)} empty masks", "some of them white", "Paint where the face may move.")
    regions = {index: region_from_masks(masks[index], portrait, over=over) for index in seen}
    nearest = [min(seen, key=lambda known, at=index: abs(known - at)) for index in range(len(masks))]  # type: ignore[misc]
    return torch.stack([regions[index] for index in nearest])


def mask_box(mask: Tensor, picture: Tensor) -> Box:
    """The box, in the pixels of a picture (H, W, 3), around what a mask (h, w) or (1, h, w) over it marks."""
    while mask.ndim > 2 and mask.shape[0] == 1:
        mask = mask[0]
    if mask.ndim == 3 and len(mask) == 0:
        raise empty_batch("face_mask", "mask")
    if mask.ndim != 2 or 0 in mask.shape:
        raise EmoInputError("face_mask", f"a mask of shape {tuple(mask.shape)}", "(h, w)", "Select one mask.")
    mask = _finite(mask.detach().to("cpu", torch.float32), "face_mask")
    if not bool((mask > MIN_MASK_VALUE).any()):
        remedy = "Paint over the face, hairline to chin, or leave face_mask unconnected."
        raise EmoInputError("face_mask", "an empty mask", "the face marked in white", remedy)
    marked = over_picture(mask.clamp(0, 1), picture, name="face_mask") > 0.5
    rows, columns = (marked.any(axis).nonzero().flatten() for axis in (1, 0))
    if not len(rows):
        raise EmoInputError("face_mask", "a mask that is nowhere more than half white", "the face marked in white")
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def union_box(boxes: Iterable[Box]) -> Box:
    """The smallest box around all boxes of a clip: M = union of M_i (section 3.2)."""
    rows = list(boxes)
    if not rows:
        raise EmoInputError("face boxes", "none", "at least one")
    return min(r[0] for r in rows), min(r[1] for r in rows), max(r[2] for r in rows), max(r[3] for r in rows)


def grow_box(box: Box, expand_x: float, expand_y: float) -> Box:
    """Grow a box on each side by a share of its width and of its height; negative shares shrink it."""
    left, top, right, bottom = box
    dx, dy = (right - left) * expand_x, (bottom - top) * expand_y
    return left - dx, top - dy, right + dx, bottom + dy


def _scaled(box: Box, scale: float) -> Box:
    left, top, right, bottom = box
    return left * scale, top * scale, right * scale, bottom * scale


def box_mask(box: Box, size: int) -> Tensor:
    """A box in pixels -> (size, size): 1 inside, 0 outside, in between where the border cuts through a pixel."""
    left, top, right, bottom = check_box(box, "face_region")
    if not (left < right and top < bottom):
        allowed = "left < right and top < bottom"
        raise EmoInputError("face_region", f"the box {tuple(box)}", allowed, "Order: left, top, right, bottom.")
    left, top, right, bottom = (min(max(value, -1.0), size + 1.0) for value in (left, top, right, bottom))
    edges = torch.arange(size + 1, dtype=torch.float32)
    columns, rows = edges.clamp(left, right).diff(), edges.clamp(top, bottom).diff()
    return rows[:, None] * columns[None, :]


def soften(mask: Tensor, sigma: float) -> Tensor:
    """Blur a mask (H, W) with a Gaussian of `sigma` pixels; the border repeats outwards."""
    radius = max(1, math.ceil(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float32) / sigma) ** 2)
    line = line / line.sum()
    for shape, pad in (((1, 1, 1, -1), (radius, radius, 0, 0)), ((1, 1, -1, 1), (0, 0, radius, radius))):
        mask = F.conv2d(F.pad(mask[None, None], pad, mode="replicate"), line.view(shape))[0, 0]
    return mask


def _from_mask(mask: Tensor, size: int, name: str) -> Tensor:
    while mask.ndim > 2 and mask.shape[0] == 1:
        mask = mask[0]
    if mask.ndim != 2 or 0 in mask.shape:
        raise EmoInputError(name, f"a mask of shape {tuple(mask.shape)}", "(h, w)", "Select one mask.")
    mask = _finite(mask.detach().to("cpu", torch.float32), name).clamp(0, 1)
    if mask.shape == (size, size):
        return mask
    scaled = F.interpolate(mask[None, None], size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return scaled[0, 0].clamp(0, 1)


def _finite(mask: Tensor, name: str) -> Tensor:
    if not bool(torch.isfinite(mask).all()):
        raise EmoInputError(name, "a mask with NaN or infinite values", "0 to 1")
    return mask
