"""V-Express: one denoising step, weights and layout as its own code has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emo_core.config import V_EXPRESS
from emo_core.data import Conditions, ReferenceCache, ReferenceFeatures
from emo_core.models.audio_projection import AudioProjection
from emo_core.models.face_locator import FaceLocator
from emo_core.models.reference_net import ReferenceNet
from emo_core.models.unet import Backbone
from emo_core.weights.shapes import below, face_locator_of, resampler_of

from .weights import Manifest, Recorder, activation_names, guided_outputs, load, network_config, regenerate

PREFIX = "v_kps_guider."  # by which its folders are known


@dataclass(frozen=True)
class System:
    """V-Express's four networks with one folder's weights."""

    backbone: Backbone
    reference_net: ReferenceNet
    guider: FaceLocator
    audio: AudioProjection


def build(meta: Mapping[str, Any], manifest: Manifest, salt: int) -> System:
    """Networks shaped as the manifest says, filled with the weights that belong to its keys."""
    config, weights = network_config(manifest, meta, V_EXPRESS.unet), regenerate(manifest, salt)
    locator = face_locator_of(below(manifest, PREFIX), V_EXPRESS.face_locator)
    system = System(
        backbone=Backbone(config),
        reference_net=ReferenceNet(config),
        guider=FaceLocator(locator, config.block_out_channels[0]),
        audio=audio_projection(meta, manifest),
    )
    load(system.backbone, weights, "denoising_unet.")
    load(system.reference_net, weights, "reference_net.")
    load(system.guider, weights, PREFIX)
    load(system.audio, weights, "audio_projection.")
    return system


def audio_projection(meta: Mapping[str, Any], manifest: Manifest) -> AudioProjection:
    """The resampler. `max_seq_len` vectors of one layer per window."""
    shapes = below(manifest, "audio_projection.")
    inner, given = shapes["layers.0.0.to_q.weight"][0], meta["config"].get("audio_projection", {})
    dim_head = given.get("dim_head") or inner // given.get("heads", 12)
    config = resampler_of(shapes, dataclasses.replace(V_EXPRESS.audio_projection, dim_head=dim_head))
    length, width = shapes["pos_emb.weight"]
    audio_dim = shapes["proj_out.weight"][0]
    return AudioProjection(config, layers=1, width=width, window_frames=length, audio_dim=audio_dim)


def run(system: System, inputs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One denoising step, named and laid out as the expected tensors: (b, c, f, h, w), the unconditional half first."""
    latents, kps = (inputs[name].transpose(1, 2) for name in ("latents", "kps_images"))
    batch, frames = latents.shape[:2]
    guided = expected["model_output"].shape[0] == 2 * batch
    tokens = system.audio(inputs["audio_windows"].unflatten(0, (-1, frames)).unsqueeze(3))
    feature = system.guider(kps)
    features = system.reference_net(inputs["ref_latents"])
    got = {"audio_tokens": tokens, "kps_feature": feature.transpose(1, 2)}
    got |= {f"bank.{site}.transformer_blocks.0": value for site, value in features.attention.items()}
    cache = system.backbone.project_reference(features)
    conditions = Conditions(audio_tokens=tokens, face_feature=feature)
    if guided:
        latents = latents.repeat(2, 1, 1, 1, 1)
        cache, conditions = with_unconditional(system, features, conditions)
    recorder = Recorder(system.backbone, activation_names(expected))
    timesteps = inputs["timestep"].reshape(-1).expand(latents.shape[0])
    got["model_output"] = system.backbone(latents, timesteps, cache, conditions).transpose(1, 2)
    return got | recorder.activations(frames) | guided_outputs(expected, got["model_output"])


def with_unconditional(
    system: System, features: ReferenceFeatures, conditions: Conditions
) -> tuple[ReferenceCache, Conditions]:
    """Both halves: features, tokens and guider feature of zero for the first."""

    def both(value: Tensor | None) -> Tensor:
        assert value is not None
        return torch.cat([torch.zeros_like(value), value])

    doubled = ReferenceFeatures(attention={site: both(value) for site, value in features.attention.items()})
    return system.backbone.project_reference(doubled), Conditions(
        audio_tokens=both(conditions.audio_tokens), face_feature=both(conditions.face_feature)
    )
