"""Portrait to reference: in, a Portrait; out, what the backbone reads of it, once per portrait ("Frames Encoding")."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from ..data import Portrait, ReferenceCache
from ..errors import EmoInputError
from ..face.region import face_region_mask
from .placement import to_network

if TYPE_CHECKING:
    from ..models.emo import EmoModel


@torch.no_grad()
def encode_reference(model: EmoModel, portrait: Portrait) -> ReferenceCache:
    """Keys, values and latent of a portrait (b = 1), and the face region it stands for where a user names none.

    Raises EmoInputError for a crop that is not square, not a multiple of the VAE's step, or not finite.
    """
    crop = portrait.crop
    _check_crop(crop, model.config.vae.downscale)
    pictures = to_network(crop.permute(2, 0, 1)[None] * 2 - 1, model.vae)
    latents = model.vae.encode(pictures)
    features = model.reference_net(to_network(latents, model.reference_net))
    reference = model.backbone.project_reference(features)
    if not all(bool(torch.isfinite(value).all()) for value in reference.values.values()):
        remedy = "Load the model with dtype float32."
        raise EmoInputError("reference", "values that are not numbers (NaN)", "finite features", remedy)
    region = face_region_mask(None, crop.shape[0], portrait)
    return dataclasses.replace(reference, face_region=region)


def _check_crop(crop: torch.Tensor, step: int) -> None:
    if crop.ndim != 3 or crop.shape[-1] != 3:
        raise EmoInputError("portrait", f"a crop of shape {tuple(crop.shape)}", "(H, W, 3)")
    height, width = crop.shape[:2]
    if height != width or height % step:
        nearest = max(step, round(height / step) * step)
        allowed = f"a square whose side is a multiple of {step}"
        raise EmoInputError("portrait", f"a crop of {width}x{height}", allowed, f"Use size {nearest}.")
    if not bool(torch.isfinite(crop).all()):
        raise EmoInputError("portrait", "pixels that are not numbers (NaN)", "values in 0..1")
