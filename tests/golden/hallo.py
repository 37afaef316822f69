"""Hallo: one denoising step, weights and layout as its own code has them (b = 1).

The halves are those of `diffusion.guidance` with the family's own table: the unconditional row sees no portrait, the
tokens of nobody, no sound, no face region, and its own motion frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emo_core.config import HALLO, AudioProjectionConfig
from emo_core.data import Conditions, ReferenceCache
from emo_core.diffusion.guidance import guided_rows
from emo_core.models.audio_projection import AudioProjection
from emo_core.models.face_locator import FaceLocator
from emo_core.models.identity import tokens_of_rows
from emo_core.models.reference_net import ReferenceNet
from emo_core.models.unet import Backbone
from emo_core.weights.shapes import below, face_locator_of, mlp_projection_of

from .weights import Manifest, Recorder, activation_names, guided_outputs, load, network_config, regenerate

PREFIX = "imageproj."  # by which its folders are known
REGIONS = ("full", "face", "lip")
# What the released code computes and never reads, and we do not compute.
UNREAD = ("ref_unet_last_hidden",)


@dataclass(frozen=True)
class System:
    """Hallo's networks with one folder's weights."""

    backbone: Backbone
    reference_net: ReferenceNet
    locator: FaceLocator
    audio: AudioProjection


def build(meta: Mapping[str, Any], manifest: Manifest, salt: int) -> System:
    config, weights = network_config(manifest, meta, HALLO.unet), regenerate(manifest, salt)
    locator = face_locator_of(below(manifest, "face_locator."), HALLO.face_locator)
    said = meta["config"]["audio"]
    projection: AudioProjectionConfig = mlp_projection_of(below(manifest, "audioproj."), HALLO.audio_projection)
    system = System(
        backbone=Backbone(config),
        reference_net=ReferenceNet(config),
        locator=FaceLocator(locator, config.block_out_channels[0]),
        audio=AudioProjection(
            projection,
            layers=said["blocks"],
            width=said["channels"],
            window_frames=said["seq_len"],
            audio_dim=config.audio_dim,
        ),
    )
    load(system.backbone, weights, "denoising_unet.")
    load(system.reference_net, weights, "reference_unet.")
    assert system.reference_net.identity_projection is not None
    load(system.reference_net.identity_projection, weights, PREFIX)
    load(system.locator, weights, "face_locator.")
    load(system.audio, weights, "audioproj.")
    return system


def run(system: System, inputs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One denoising step, named and laid out as the expected tensors: (b, c, f, h, w), the unconditional half first."""
    latents = inputs["latents"].transpose(1, 2)
    frames = latents.shape[1]
    guided = expected["model_output"].shape[0] == 2
    cache, got = encode(system, inputs, guided=guided)
    tokens = system.audio(inputs["audio_window"])
    feature = system.locator(inputs["face_region"].unsqueeze(1))
    got |= {"audio_tokens": tokens, "face_locator_out": feature.transpose(1, 2).expand(-1, -1, frames, -1, -1)}
    conditions = Conditions(audio_tokens=tokens, face_feature=feature)
    scale = HALLO.guidance.scale if guided else 1.0
    ((reference, rows),) = guided_rows(cache, conditions, HALLO.guidance, scale=scale).passes
    recorder = Recorder(system.backbone, activation_names(expected))
    latents = latents.expand(2 if guided else 1, -1, -1, -1, -1)
    timesteps = inputs["timestep"].reshape(-1).expand(len(latents))
    got["model_output"] = system.backbone(latents, timesteps, reference, rows).transpose(1, 2)
    return got | recorder.activations(frames) | guided_outputs(expected, got["model_output"])


def encode(system: System, inputs: Mapping[str, Tensor], *, guided: bool) -> tuple[ReferenceCache, dict[str, Tensor]]:
    """The reference of both halves, and ReferenceNet's golden tensors."""
    net = system.reference_net
    assert net.identity_projection is not None and net.config.identity is not None
    face, nobody = net.identity_projection(inputs["face_emb"]), net.identity_projection.nobody()
    pictures = inputs["ref_and_motion_latents"].unsqueeze(0)
    rows = pictures.shape[1]
    of_rows = (
        tokens_of_rows(face, nobody, rows, config=net.config.identity) if guided else (face.expand(1, rows, -1, -1),)
    )
    halves = [net(pictures[:, 0], pictures[:, 1:], identity=tokens) for tokens in of_rows]
    got = {"image_tokens_uncond_then_cond": torch.cat([nobody, face]) if guided else face}
    for site in halves[0].attention:
        motion = site.replace("attentions", "motion_modules")
        of_site = []
        for half in halves:
            maps = half.motion[motion][0].flatten(2).transpose(1, 2)
            of_site += [half.attention[site], maps]
        got[f"bank.{site}.transformer_blocks.0"] = torch.cat(of_site)
    features = dataclasses.replace(
        halves[-1],
        identity=face,
        nobody=dataclasses.replace(halves[0], identity=nobody) if guided else None,
        in_turn=net.config.identity.halves == "interleaved",
    )
    cache = dataclasses.replace(
        system.backbone.project_reference(features),
        audio_regions=audio_regions(inputs),
        region_weights=tuple(inputs["motion_scale"].tolist()),
    )
    return cache, got


def audio_regions(inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """(f, 3, k) by level."""
    levels = len([key for key in inputs if key.startswith("lip_mask_")])
    return tuple(torch.stack([inputs[f"{name}_mask_{i}"] for name in REGIONS], dim=1) for i in range(levels))


def comparable(name: str, expected: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    """The released motion modules also give the motion frames back, which their code drops; we do not compute them."""
    frames = inputs["latents"].shape[2]
    return expected[:, :, -frames:] if ".motion_modules." in name else expected
