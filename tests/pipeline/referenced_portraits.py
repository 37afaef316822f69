"""A tiny model whose VAE reads the portrait, and one portrait cut at several sizes."""

from __future__ import annotations

import torch
from awake_model import awake, with_clip
from torch.nn import functional

from emo_core.config import TINY_REFERENCED
from emo_core.data import Portrait
from emo_core.models.emo import EmoModel
from emo_core.models.flow import shrunk


def referenced_model(**clip: object) -> EmoModel:
    return awake(with_clip(TINY_REFERENCED, **clip))


def portrait_of(size: int, *, seed: int = 2) -> Portrait:
    """Soft colours, the same at every size; the face in the middle of the square."""
    noise = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    whole = functional.interpolate(noise, size=(256, 256), mode="bicubic", align_corners=False).clamp(0, 1)
    crop = shrunk(whole, size, size)[0].permute(1, 2, 0).contiguous()
    quarter = size / 4
    box = (quarter, quarter, 3 * quarter, 3 * quarter)
    return Portrait(crop, box, (0.0, 0.0, float(size), float(size)), crop)
