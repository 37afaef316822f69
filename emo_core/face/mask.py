"""Where a mask lies: over the whole picture, or over the square that was cut from it.

In: a mask (h, w) of any size, and the portrait. Out: the mask over the square. Its size says where it lies: that of the
picture, or its shape at another scale; that of the square. Where both are possible the user has to say, and where
neither is, nothing can have been meant.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from ..data import Portrait
from ..errors import EmoInputError
from .cut import cut

Over = Literal["auto", "picture", "crop"]

SHAPE_TOLERANCE = 0.01  # of a side: programs round the sides of what they scale, some to multiples of 8
ROUNDING = 0.6  # pixels, of small masks
EVEN = 1e-4  # a mask that varies by no more is the same wherever it lies
_REMEDY = "Paint it over the picture that the portrait was cut from."


def over_crop(mask: Tensor, portrait: Portrait | None, *, over: Over = "auto", name: str = "mask") -> Tensor:
    """A mask (h, w) as it lies over the square: cut out of itself like the portrait if it lies over the picture, else
    as it is. Raises EmoInputError, about the input `name`, for a shape that cannot be meant, or that `over` has to tell
    apart."""
    if float(mask.max() - mask.min()) <= EVEN:
        return mask
    if portrait is None or _place(mask, portrait, over, name) == "crop":
        if not alike(mask, 1, 1):
            allowed = "a square one over the square that was cut out"
            remedy = "Connect portrait, for a mask over the whole picture." if portrait is None else _REMEDY
            raise EmoInputError(name, f"a mask of {sides(mask)} pixels", allowed, remedy)
        return mask
    whole = over_picture(mask, portrait.source, name=name)
    return cut(whole[..., None], portrait.crop_box, portrait.crop.shape[0], portrait.angle_deg)[..., 0]


def over_picture(mask: Tensor, picture: Tensor, *, name: str) -> Tensor:
    """A mask (h, w) at the size of the picture (H, W, c) that it lies over. Raises EmoInputError where it has another
    shape."""
    height, width = picture.shape[:2]
    if mask.shape == (height, width):
        return mask
    if not alike(mask, height, width):
        found = f"a mask of {sides(mask)} pixels for a picture of {sides(picture)}"
        raise EmoInputError(name, found, "one of the picture's size, or of its shape", _REMEDY)
    shrinks = mask.shape[0] > height
    scaled = F.interpolate(mask[None, None], (height, width), mode="bilinear", antialias=shrinks, align_corners=False)
    return scaled[0, 0].clamp(0, 1)


def alike(mask: Tensor, height: int, width: int) -> bool:
    """Whether a mask (h, w) has the shape of height to width, rounding aside."""
    h, w = mask.shape[:2]
    wrong = ((abs(w - h * width / height), w), (abs(h - w * height / width), h))
    return any(away <= max(ROUNDING, SHAPE_TOLERANCE * side) for away, side in wrong)


def sides(picture: Tensor) -> str:
    """Width and height of (H, W, ...), for a message."""
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _place(mask: Tensor, portrait: Portrait, over: Over, name: str) -> str:
    if over != "auto":
        return over
    picture, crop = portrait.source, portrait.crop
    is_picture, is_crop = (mask.shape == other.shape[:2] for other in (picture, crop))
    on_picture = is_picture or (not is_crop and alike(mask, *picture.shape[:2]))
    on_crop = is_crop or (not is_picture and alike(mask, *crop.shape[:2]))
    if on_picture and on_crop:
        if portrait.angle_deg == 0 and tuple(portrait.crop_box) == (0, 0, picture.shape[1], picture.shape[0]):
            return "crop"  # the square is the whole picture
        found = f"a mask of {sides(mask)} pixels, which may lie over the picture of {sides(picture)} or over the square"
        raise EmoInputError(name, found, "to be told which", "Set mask_over to picture or to square.")
    if not (on_picture or on_crop):
        allowed = f"the shape of the picture, {sides(picture)}, or of the square, {sides(crop)}"
        raise EmoInputError(name, f"a mask of {sides(mask)} pixels", allowed, _REMEDY)
    return "picture" if on_picture else "crop"
