"""Read a picture or a mask from a file, whatever its kind.

In: a path to anything Pillow reads (jpg, png, webp, gif, tiff, 1 to 16 bits, grey, palette, alpha, CMYK). Out: a
picture (H, W, 3) float32 in 0..1, upright as the camera's EXIF tag says, its colours in sRGB as its ICC profile, or the
space that it names, says; or a mask (H, W). What is transparent becomes middle grey (0.5), the colour that is least
wrong against hair and skin of any tone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import EmoInputError, empty_batch
from .mask import over_picture
from .picture_file import load_picture

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

NEUTRAL_GREY = 0.5
MIN_SIDE = 16  # pixels; below, the mesh has nothing to see
FLAT = 0.03  # masks whose colours differ by no more are of one colour
OVERSHOOT = 4.0  # decimal values that are nowhere above it are of 0..1, brighter in places; those above count to 255
LABEL = 1 / 255  # a mask that is nowhere brighter has the labels 0 and 1, not grey values
_INVISIBLE = "%s: it is transparent all over, which is not obeyed: its colours are taken as they are"
_ROWS_AT_ONCE = 256  # a picture of 100 megapixels is turned into numbers without a second copy of all of it


def read_image(path: str | Path, *, name: str = "portrait") -> Tensor:
    """A picture file -> (H, W, 3) float 0..1. `name` is the input that named the file. Raises EmoInputError for what is
    missing, broken or too small."""
    picture = load_picture(path, name=name)
    if "A" in picture.getbands() and picture.getchannel("A").getextrema() == (0, 0):
        log.warning(_INVISIBLE, name)
        picture.putalpha(255)
    image = torch.empty(picture.height, picture.width, 3)
    for first, values in _strips(picture, name):
        image[first : first + len(values)] = over_grey(values)
    return as_image(image, name=name)


def read_mask(path: str | Path, *, name: str = "face-mask") -> Tensor:
    """A mask file -> (H, W) float 0..1. White is 1; what is transparent is 0. In a picture of one colour on a
    transparent ground the opacity alone is the mask, whatever the colour. Raises EmoInputError as `read_image`."""
    picture = load_picture(path, name=name)
    bright, opaque = torch.empty(picture.height, picture.width), torch.ones(picture.height, picture.width)
    for first, values in _strips(picture, name):
        rows = slice(first, first + len(values))
        colours = values.shape[-1] if values.shape[-1] in (1, 3) else values.shape[-1] - 1
        bright[rows] = values[..., :colours].amax(-1)
        if colours < values.shape[-1]:
            opaque[rows] = values[..., -1]
    if not bool(torch.isfinite(bright).all()):
        raise EmoInputError(name, "values that are not numbers (NaN or infinite)", "a mask of 0 to 1")
    highest = float(bright.max())
    if 0 < highest <= LABEL * 1.001 and bool((opaque == 1).all()):
        log.warning("%s: its brightest value is next to black; it is taken for white, as in a mask of 0 and 1", name)
        bright /= highest
    seen = bright[opaque > 0.5]
    if float(opaque.min()) < 1 and (not len(seen) or float(seen.max() - seen.min()) <= FLAT):
        return opaque
    return (bright * opaque).clamp(0, 1)


def without_transparent(picture: Tensor, transparency: Tensor | None, *, name: str = "transparency") -> Tensor:
    """A picture (H, W, 3) over grey where a mask (h, w) or (1, h, w) says that it is transparent (1). ComfyUI's Load
    Image gives the two apart, and an empty mask of any size for a picture without alpha. Raises EmoInputError for a
    mask of another shape, or with values that are not numbers."""
    if transparency is None or 0 in transparency.shape or not bool(transparency.any()):
        return picture
    if transparency.ndim == 3 and len(transparency) == 1:
        transparency = transparency[0]
    if transparency.ndim != 2:
        raise EmoInputError(name, f"masks of shape {tuple(transparency.shape)}", "one mask (h, w)", "Select one.")
    if not bool(torch.isfinite(transparency).all()):
        raise EmoInputError(name, "a mask with NaN or infinite values", "0 to 1")
    opaque = 1 - transparency.detach().to("cpu", torch.float32).clamp(0, 1)
    alpha = over_picture(opaque, picture, name=name)
    if not bool(alpha.any()):
        remedy = "Connect the mask that Load Image gives with this picture, or invert it."
        raise EmoInputError(name, "a mask that is white all over: nothing is left", "black where it is seen", remedy)
    return over_grey(torch.cat([picture, alpha[..., None]], dim=-1))


def over_grey(values: Tensor) -> Tensor:
    """(..., 3 or 1, or 4 or 2 with alpha) -> (..., 3 or 1): what is transparent over middle grey."""
    if values.shape[-1] in (1, 3):
        return values
    colours, alpha = values[..., :-1], values[..., -1:]
    return colours * alpha + NEUTRAL_GREY * (1 - alpha)


def as_image(image: Tensor, *, name: str = "portrait") -> Tensor:
    """Check a picture tensor and return it as (H, W, 3) float32 in 0..1, on the CPU.

    A batch of one (1, H, W, c) is taken as the picture; 1, 3 or 4 channels; alpha is laid over middle grey.
    """
    if image.ndim == 4:
        if image.shape[0] == 0:
            raise empty_batch(name, "picture")
        if image.shape[0] != 1:
            raise EmoInputError(
                name, f"a batch of {image.shape[0]} pictures", "one picture", "Select one of the batch."
            )
        image = image[0]
    _check_channels(image, name)
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise EmoInputError(
            name, f"{width}x{height} pixels", f"at least {MIN_SIDE}x{MIN_SIDE}", "Give a larger picture."
        )
    return in_colour(image, name=name)


def in_colour(image: Tensor, *, name: str) -> Tensor:
    """A picture (H, W, c) of 1, 3 or 4 channels as (H, W, 3) float32 on the CPU, alpha laid over middle grey. `name` is
    the input that it came from. Values a little outside 0..1 are cut. Raises EmoInputError for another shape, and for
    values that count to 255, are NaN or infinite."""
    _check_channels(image, name)
    if not image.is_floating_point():
        raise EmoInputError(name, f"values of type {image.dtype}", "float in 0..1", "Divide 8-bit values by 255.")
    image = image.detach().to("cpu", torch.float32)
    low, high = (float(value) for value in image.aminmax())  # NaN is handed on; no copy of a picture of 8k
    if not (math.isfinite(low) and math.isfinite(high)):
        raise EmoInputError(name, "values that are not numbers (NaN or infinite)", "float in 0..1")
    if high > OVERSHOOT:
        raise EmoInputError(name, f"values up to {high:g}", "float in 0..1", "Divide 8-bit values by 255.")
    if low < 0 or high > 1:
        image = image.clamp(0, 1)
    if image.shape[-1] == 4 and not bool(image[..., 3].any()):
        log.warning(_INVISIBLE, name)
        image = image[..., :3]
    if image.shape[-1] == 4:
        return over_grey(image)
    return image.expand(*image.shape[:2], 3)


def _check_channels(image: Tensor, name: str) -> None:
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        found = f"a tensor of shape {tuple(image.shape)}"
        raise EmoInputError(name, found, "(H, W, 3), channels last", "Reshape the picture.")


def _strips(picture: Image.Image, name: str) -> Iterator[tuple[int, Tensor]]:
    """The first row of each strip and its values (h, W, 1 to 4) in 0..1."""
    scale = _scale(picture, name)
    for first in range(0, picture.height, _ROWS_AT_ONCE):
        part = np.array(picture.crop((0, first, picture.width, min(first + _ROWS_AT_ONCE, picture.height))))
        values = torch.from_numpy(part.astype(np.float32)).div_(scale)
        yield first, values if values.ndim == 3 else values[..., None]


def _scale(picture: Image.Image, name: str) -> float:
    """What is white. Of wider grey, Pillow's own conversion would clip what is above 255. Values below 0 are black;
    raises EmoInputError, about the input `name`, where there are no others."""
    if picture.mode not in ("I", "I;16", "F"):
        return 255.0
    lowest, highest = (float(value) for value in picture.getextrema())  # type: ignore[arg-type]
    if lowest < 0:
        if highest <= 0:
            found = f"values from {lowest:g} to {highest:g}"
            raise EmoInputError(name, found, "0 to 1, 0 to 255 or 0 to 65535", "Export it again as png.")
        log.warning("%s: values below 0 (down to %g) are taken for black", name, lowest)
    if (picture.mode == "F" and highest <= OVERSHOOT) or math.isnan(highest):
        return max(1.0, highest)
    if picture.mode == "I;16":
        return 65535.0
    scale = next((white for white in (255.0, 65535.0) if highest <= white), highest)
    if picture.mode == "F" or scale == highest > 65535:
        log.warning("%s: values up to %g; %g is taken for white", name, highest, scale)
    return scale
