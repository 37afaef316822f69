"""Put a generated frame back into the picture the portrait was cut from.

In: a frame (H, W, 3) of the crop, and the `Portrait`. Out: the whole picture (H', W', 3) with the frame blended in over
a feathered border, so that no square shows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import Portrait
from ..errors import EmoInputError

DEFAULT_FEATHER = 0.08  # width of the blend, as a share of the crop's side


def paste_back(frame: Tensor, portrait: Portrait, *, feather: float = DEFAULT_FEATHER) -> Tensor:
    """Blend a frame (H, W, 3) into a copy of `portrait.source`. `feather` 0 is a hard edge, at most 0.5."""
    if frame.ndim != 3 or frame.shape[-1] != 3:
        raise EmoInputError("frame", f"a tensor of shape {tuple(frame.shape)}", "(H, W, 3), channels last")
    if not 0.0 <= feather <= 0.5:
        raise EmoInputError("feather", f"{feather}", "0 to 0.5")
    picture = portrait.source.clone()
    height, width = picture.shape[:2]
    left, top, right, bottom = (round(v) for v in portrait.crop_box)
    x0, x1, y0, y1 = max(left, 0), min(right, width), max(top, 0), min(bottom, height)
    if x0 >= x1 or y0 >= y1:
        return picture
    side = right - left
    resized = F.interpolate(
        frame.to(picture).permute(2, 0, 1)[None], size=(side, side), mode="bicubic", antialias=True, align_corners=False
    )[0].clamp(0, 1)
    inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    patch = resized.permute(1, 2, 0)[inside]
    weight = _border_weight(side, feather)[inside][..., None]
    picture[y0:y1, x0:x1] = torch.lerp(picture[y0:y1, x0:x1], patch, weight)
    return picture


def _border_weight(side: int, feather: float) -> Tensor:
    """(side, side): 1 inside, falling smoothly to 0 at the border."""
    if feather == 0:
        return torch.ones(side, side)
    steps = torch.arange(side, dtype=torch.float32) + 0.5
    ramp = (torch.minimum(steps, side - steps) / (feather * side)).clamp(0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return ramp[:, None] * ramp[None, :]
