"""Portrait to reference: in, a Portrait; out, what the backbone reads of it, once per portrait ("Frames Encoding")."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import torch

from ..data import Portrait, ReferenceCache, ReferenceFeatures
from ..errors import EmoInputError
from ..face.audio_regions import audio_regions, emphasis_regions
from ..face.key_points import key_points
from ..face.region import DEFAULT_EXPAND, face_region_mask
from ..models.blocks import level_sides
from .offload import Offload
from .placement import to_network

if TYPE_CHECKING:
    from ..models.emo import EmoModel
    from ..models.reference_net import ReferenceNet
    from ..models.unet import Backbone
    from ..models.vae import VAE

log = logging.getLogger(__name__)

NO_IDENTITY = "the face is left to the picture alone. For more likeness, put glintr100.onnx beside the model."


def encode_reference(model: EmoModel, portrait: Portrait, *, offload: Offload | None = None) -> ReferenceCache:
    """Keys, values and latent of a portrait (b = 1), and the face region it stands for where a user names none.
    `offload`: how the networks come to the card.

    Raises EmoInputError for a crop that is not square, not a multiple of the VAE's step, or not finite.
    """
    offload = offload or Offload()
    with offload.stage(model, "vae", "reference_net"):
        features = encode_portrait(model.vae, model.reference_net, portrait, step=model.config.vae.downscale)
    with offload.stage(model, "backbone"):
        return project_reference(model.backbone, features, portrait, expand=model.config.face_locator.expand)


@torch.no_grad()
def encode_portrait(vae: VAE, reference_net: ReferenceNet, portrait: Portrait, *, step: int) -> ReferenceFeatures:
    """ReferenceNet's features of a portrait (b = 1): what can be kept while the backbone changes. `step`: pixels per
    latent. Raises EmoInputError as `encode_reference`.
    """
    _check_crop(portrait.crop, step)
    pictures = to_network(portrait.crop.permute(2, 0, 1)[None] * 2 - 1, vae)
    return encode_latents(reference_net, vae.encode(pictures), portrait)


@torch.no_grad()
def encode_latents(reference_net: ReferenceNet, latents: torch.Tensor, portrait: Portrait) -> ReferenceFeatures:
    """As `encode_portrait`, of the latents (1, c, h, w) that the VAE made of the portrait's crop."""
    latents = to_network(latents, reference_net)
    if reference_net.identity_projection is None:
        features: ReferenceFeatures = reference_net(latents)
        return features
    return _with_identity(reference_net, latents, portrait)


def _with_identity(net: ReferenceNet, latents: torch.Tensor, portrait: Portrait) -> ReferenceFeatures:
    """The portrait seen beside its own face's tokens and beside nobody's."""
    project = net.identity_projection
    assert project is not None and net.config.identity is not None
    if portrait.identity is None:
        log.warning("No identity embedding: %s", NO_IDENTITY)
        identity = project.nobody()
    else:
        identity = project(to_network(portrait.identity[None], net))
    nobody = project.nobody()
    unconditional = dataclasses.replace(net(latents, identity=nobody[:, None]), identity=nobody)
    return dataclasses.replace(
        net(latents, identity=identity[:, None]),
        identity=identity,
        nobody=unconditional,
        in_turn=net.config.identity.halves == "interleaved",
    )


@torch.no_grad()
def project_reference(
    backbone: Backbone, features: ReferenceFeatures, portrait: Portrait, *, expand: float = DEFAULT_EXPAND
) -> ReferenceCache:
    """The features as the backbone reads them, where it is, and the portrait's own face region, grown by `expand`."""
    reference = backbone.project_reference(_features_to_network(features, backbone))
    if not all(bool(torch.isfinite(value).all()) for value in reference.values.values()):
        remedy = "Load the model with dtype float32."
        raise EmoInputError("reference", "values that are not numbers (NaN)", "finite features", remedy)
    region = face_region_mask(None, portrait.crop.shape[0], portrait, expand_x=expand, expand_y=expand)
    assert reference.latents is not None
    side = reference.latents.shape[-1]
    sides = level_sides(side, len(backbone.config.block_out_channels))
    return dataclasses.replace(
        reference,
        face_region=region,
        audio_regions=() if backbone.config.audio_module is None else audio_regions(portrait, sides),
        emphasis_regions=emphasis_regions(portrait, sides),
        key_points=key_points(portrait),
    )


def _features_to_network(features: ReferenceFeatures, network: torch.nn.Module) -> ReferenceFeatures:
    return dataclasses.replace(
        features,
        attention={site: to_network(value, network) for site, value in features.attention.items()},
        nobody=None if features.nobody is None else _features_to_network(features.nobody, network),
    )


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
