"""Portrait to reference: in, a Portrait; out, what the backbone reads of it, once per portrait ("Frames Encoding")."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from ..data import Portrait, ReferenceCache, ReferenceFeatures
from ..errors import EmoInputError
from ..face.region import face_region_mask
from .placement import to_network

if TYPE_CHECKING:
    from ..models.emo import EmoModel
    from ..models.reference_net import ReferenceNet
    from ..models.unet import Backbone
    from ..models.vae import VAE


def encode_reference(model: EmoModel, portrait: Portrait) -> ReferenceCache:
    """Keys, values and latent of a portrait (b = 1), and the face region it stands for where a user names none.

    Raises EmoInputError for a crop that is not square, not a multiple of the VAE's step, or not finite.
    """
    features = encode_portrait(model.vae, model.reference_net, portrait, step=model.config.vae.downscale)
    return project_reference(model.backbone, features, portrait)


@torch.no_grad()
def encode_portrait(vae: VAE, reference_net: ReferenceNet, portrait: Portrait, *, step: int) -> ReferenceFeatures:
    """ReferenceNet's features of a portrait (b = 1): what can be kept while the backbone changes. `step`: pixels per
    latent. Raises EmoInputError as `encode_reference`.
    """
    _check_crop(portrait.crop, step)
    pictures = to_network(portrait.crop.permute(2, 0, 1)[None] * 2 - 1, vae)
    features: ReferenceFeatures = reference_net(to_network(vae.encode(pictures), reference_net))
    return features


@torch.no_grad()
def project_reference(backbone: Backbone, features: ReferenceFeatures, portrait: Portrait) -> ReferenceCache:
    """The features as the backbone reads them, where it is, and the portrait's own face region."""
    attention = {site: to_network(value, backbone) for site, value in features.attention.items()}
    reference = backbone.project_reference(dataclasses.replace(features, attention=attention))
    if not all(bool(torch.isfinite(value).all()) for value in reference.values.values()):
        remedy = "Load the model with dtype float32."
        raise EmoInputError("reference", "values that are not numbers (NaN)", "finite features", remedy)
    region = face_region_mask(None, portrait.crop.shape[0], portrait)
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
