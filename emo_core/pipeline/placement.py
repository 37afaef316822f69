"""Where a network is and what it computes in: records are moved to a network, never a network to a record.

Networks of one model may sit on different devices, and a host may move them between two calls, so every call asks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..data import Conditions, PortraitDetail, ReferenceCache


def device_of(network: nn.Module) -> torch.device:
    """The device of the network's first parameter."""
    return next(network.parameters()).device


def dtype_of(network: nn.Module) -> torch.dtype:
    """The type of the network's first parameter."""
    return next(network.parameters()).dtype


def is_compiled(network: nn.Module) -> bool:
    """Whether any of its blocks is (`models.compiled`)."""
    return any(getattr(module, "_compiled_call_impl", None) is not None for module in network.modules())


def to_network(value: Tensor, network: nn.Module) -> Tensor:
    """`value` where the network is, in its type."""
    return value.to(device_of(network), dtype_of(network))


def reference_to_network(reference: ReferenceCache, network: nn.Module) -> ReferenceCache:
    """All that the backbone reads of a reference, where the network is, in its type; the VAE's detail is left out."""

    def moved(value: Tensor | None) -> Tensor | None:
        return None if value is None else to_network(value, network)

    return dataclasses.replace(
        reference,
        keys=_sites_to_network(reference.keys, network),
        values=_sites_to_network(reference.values, network),
        motion=_sites_to_network(reference.motion, network),
        latents=moved(reference.latents),
        identity=moved(reference.identity),
        nobody=None if reference.nobody is None else reference_to_network(reference.nobody, network),
        audio_regions=tuple(to_network(region, network) for region in reference.audio_regions),
        audio_gain=tuple(to_network(gain, network) for gain in reference.audio_gain),
        detail=None,
    )


def detail_to_network(detail: PortraitDetail, vae: nn.Module) -> PortraitDetail:
    """What the VAE decodes with, where it is, in its type; the picture keeps its own, which the frames then have."""
    return PortraitDetail(
        picture=detail.picture.to(device_of(vae)),
        latent=to_network(detail.latent, vae),
        features=tuple(to_network(feature, vae) for feature in detail.features),
    )


def detail_to_device(detail: PortraitDetail, device: torch.device) -> PortraitDetail:
    """The same elsewhere, each tensor in its type."""
    features = tuple(feature.to(device) for feature in detail.features)
    return PortraitDetail(detail.picture.to(device), detail.latent.to(device), features)


def conditions_to_network(conditions: Conditions, network: nn.Module) -> Conditions:
    """A clip's conditions where the network is, in its type; where they were made in a stage before it came."""

    def moved(value: Tensor | None) -> Tensor | None:
        return None if value is None else to_network(value, network)

    return dataclasses.replace(
        conditions,
        audio_tokens=moved(conditions.audio_tokens),
        face_feature=moved(conditions.face_feature),
        speed_tokens=moved(conditions.speed_tokens),
        posed_portrait=moved(conditions.posed_portrait),
    )


def _sites_to_network(sites: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    return {site: to_network(value, network) for site, value in sites.items()}
