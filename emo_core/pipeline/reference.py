"""Portrait to reference: in, a Portrait; out, what the backbone reads of it, once per portrait ("Frames Encoding")."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import torch

from ..data import Portrait, PortraitDetail, ReferenceCache, ReferenceFeatures
from ..errors import EmoInputError
from ..face.audio_regions import audio_regions, emphasis_regions
from ..face.key_points import key_points
from ..face.region import face_region_mask
from ..models.blocks import level_sides
from .offload import Offload
from .placement import detail_to_device, device_of, to_network
from .sizes import check_size, seen_size

if TYPE_CHECKING:
    from ..config import EmoConfig, VAEConfig
    from ..models.emo import EmoModel
    from ..models.reference_net import ReferenceNet
    from ..models.unet import Backbone
    from ..models.vae import VAE

log = logging.getLogger(__name__)

NO_IDENTITY = "the face is left to the picture alone. For more likeness, put glintr100.onnx beside the model."


def encode_reference(model: EmoModel, portrait: Portrait, *, offload: Offload | None = None) -> ReferenceCache:
    """Keys, values and latent of a portrait (b = 1), and the face region it stands for where a user names none.
    `offload`: how the networks come to the card.

    Raises EmoInputError for a crop that is not square, of a size that the VAE does not take, or not finite.
    """
    offload, config = offload or Offload(), model.config
    with offload.stage(model, "vae", "reference_net"):
        features = encode_portrait(model.vae, model.reference_net, portrait, config=config.vae)
    if features.detail is not None and offload.home is not None:
        features = dataclasses.replace(features, detail=detail_to_device(features.detail, offload.home))
    with offload.stage(model, "backbone"):
        return project_reference(model.backbone, features, portrait, config=config)


@torch.no_grad()
def encode_portrait(
    vae: VAE, reference_net: ReferenceNet, portrait: Portrait, *, config: VAEConfig
) -> ReferenceFeatures:
    """ReferenceNet's features of a portrait (b = 1), and what a VAE that reads it decodes with: what can be kept while
    the backbone changes. `config`: the VAE's. Raises EmoInputError as `encode_reference`.
    """
    _check_crop(portrait.crop, config)
    picture = (portrait.crop.permute(2, 0, 1)[None] * 2 - 1).to(device_of(vae))
    detail = vae.detail(picture)
    latents = vae.encode(to_network(picture, vae)) if detail is None else detail.latent
    return dataclasses.replace(encode_latents(reference_net, latents, portrait), detail=detail)


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
    backbone: Backbone,
    features: ReferenceFeatures,
    portrait: Portrait,
    *,
    config: EmoConfig,
) -> ReferenceCache:
    """The features as the backbone reads them, where it is, and the portrait's own face region: grown as the model of
    `config` was trained with, in pixels as its networks see them."""
    reference = backbone.project_reference(_features_to_network(features, backbone))
    if not all(bool(torch.isfinite(value).all()) for value in reference.values.values()):
        remedy = "Load the model in float32 (precision of the loader; --dtype on the command line)."
        raise EmoInputError("reference", "values that are not numbers (NaN)", "finite features", remedy)
    size, expand = seen_size(config.vae, portrait.crop.shape[0]), config.face_locator.expand
    region = face_region_mask(None, size, portrait, expand_x=expand, expand_y=expand)
    assert reference.latents is not None
    side = reference.latents.shape[-1]
    sides = level_sides(side, len(backbone.config.block_out_channels))
    return dataclasses.replace(
        reference,
        face_region=region,
        audio_regions=() if backbone.config.audio_module is None else audio_regions(portrait, sides),
        emphasis_regions=emphasis_regions(portrait, sides),
        key_points=key_points(portrait),
        detail=features.detail,
    )


def check_detail(reference: ReferenceCache, vae: VAEConfig) -> None:
    """Raises EmoInputError unless the reference holds what a VAE of this configuration decodes with: nothing, or the
    detail of the portrait that a VAE of this shape made."""
    detail, reads = reference.detail, vae.kind == "referenced"
    remedy = "Encode the portrait with the model, and the VAE, that generate."
    if detail is None and not reads:
        return
    if detail is None:
        found, allowed = "what a model without such a VAE sees of the portrait", "its detail too, which this VAE reads"
        raise EmoInputError("reference", found, allowed, remedy)
    if not reads:
        found, allowed = "the portrait's detail, for another model's VAE", "none: this VAE decodes without a portrait"
        raise EmoInputError("reference", found, allowed, remedy)
    made, own = _shapes(detail), _detail_shapes(vae, detail.picture.shape[-1])
    if made != own:
        found = f"the portrait's detail as another model's VAE made it, {_channels(made)} channels wide"
        raise EmoInputError("reference", found, f"{_channels(own)} channels, of this model's", remedy)


def _detail_shapes(vae: VAEConfig, size: int) -> tuple[tuple[int, ...], ...]:
    """Of what a VAE of this configuration makes of a portrait of `size` pixels."""
    from ..models.vae import VAE
    from ..weights.build import without_memory

    network = without_memory(lambda: VAE(vae)).to("meta")
    with torch.no_grad():
        detail = network.detail(torch.empty(1, 3, size, size, device="meta"))
    assert detail is not None
    return _shapes(detail)


def _shapes(detail: PortraitDetail) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(tensor.shape) for tensor in (detail.picture, detail.latent, *detail.features))


def _channels(shapes: tuple[tuple[int, ...], ...]) -> str:
    return ", ".join(f"{shape[1]}" for shape in shapes[1:])


def _features_to_network(features: ReferenceFeatures, network: torch.nn.Module) -> ReferenceFeatures:
    return dataclasses.replace(
        features,
        attention={site: to_network(value, network) for site, value in features.attention.items()},
        nobody=None if features.nobody is None else _features_to_network(features.nobody, network),
    )


def _check_crop(crop: torch.Tensor, vae: VAEConfig) -> None:
    if crop.ndim != 3 or crop.shape[-1] != 3:
        raise EmoInputError("portrait", f"a crop of shape {tuple(crop.shape)}", "(H, W, 3)")
    height, width = crop.shape[:2]
    if height != width:
        raise EmoInputError("portrait", f"a crop of {width}x{height}", "a square", "Cut it with prepare_portrait.")
    check_size(height, vae, "portrait")
    if not bool(torch.isfinite(crop).all()):
        raise EmoInputError("portrait", "pixels that are not numbers (NaN)", "values in 0..1")
