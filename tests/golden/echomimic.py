"""EchoMimic: one denoising step of one window, weights and layout as its own code has them (b = 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from emo_core.config import ECHOMIMIC
from emo_core.data import Conditions
from emo_core.diffusion.guidance import guided_rows
from emo_core.models.face_locator import FaceLocator
from emo_core.models.reference_net import ReferenceNet
from emo_core.models.unet import Backbone
from emo_core.weights.shapes import below, face_locator_of

from .weights import Manifest, Recorder, activation_names, guided_outputs, load, network_config, regenerate


@dataclass(frozen=True)
class System:
    """EchoMimic's networks with one folder's weights. It has no audio projection."""

    backbone: Backbone
    reference_net: ReferenceNet
    locator: FaceLocator


def build(meta: Mapping[str, Any], manifest: Manifest, salt: int) -> System:
    config, weights = network_config(manifest, meta, ECHOMIMIC.unet), regenerate(manifest, salt)
    locator = face_locator_of(below(manifest, "face_locator."), ECHOMIMIC.face_locator)
    system = System(
        backbone=Backbone(config),
        reference_net=ReferenceNet(config),
        locator=FaceLocator(locator, config.block_out_channels[0]),
    )
    load(system.backbone, weights, "denoising_unet.")
    load(system.reference_net, weights, "reference_unet.")
    load(system.locator, weights, "face_locator.")
    return system


def run(system: System, inputs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One denoising step, named and laid out as the expected tensors: (b, c, f, h, w), the unconditional half first."""
    latents = inputs["latents"].transpose(1, 2)
    frames = latents.shape[1]
    guided = expected["model_output"].shape[0] == 2
    feature = system.locator(inputs["face_mask"].transpose(1, 2))
    features = system.reference_net(inputs["ref_latents"])
    got = {"face_locator_out": feature.transpose(1, 2)}
    got |= {f"bank.{site}.transformer_blocks.0": value for site, value in features.attention.items()}
    conditions = Conditions(audio_tokens=inputs["audio_cond_fea"], face_feature=feature)
    scale = ECHOMIMIC.guidance.scale if guided else 1.0
    cache = system.backbone.project_reference(features)
    ((reference, rows),) = guided_rows(cache, conditions, ECHOMIMIC.guidance, scale=scale).passes
    recorder = Recorder(system.backbone, activation_names(expected))
    latents = latents.expand(2 if guided else 1, -1, -1, -1, -1)
    timesteps = inputs["timestep"].reshape(-1).expand(len(latents))
    got["model_output"] = system.backbone(latents, timesteps, reference, rows).transpose(1, 2)
    return got | recorder.activations(frames) | guided_outputs(expected, got["model_output"])
