"""Hallo's whole loop over two clips through our own pipeline: portrait, guidance, steps, motion frames, VAE.

ReferenceNet's features go over in half precision. A difference of 1e-6 before the rounding turns about 6 of a thousand
values by a whole step, 5e-4; one of 3e-5 turns one in twenty. So from clip to clip the last digit grows, and the golden
numbers hold the last digit of the machine they were made on. Measured against exact arithmetic (everything in float64,
the features rounded all the same): the golden features are 5.7e-7 to 9.1e-7 away from it, ours 5.7e-7 to 8.9e-7; the
latents of the clips

                            clip 0    clip 1    clip 1 from golden clip 0
    golden - float64        3.4e-5    3.6e-4    4.5e-5
    golden - ours, float32  3.1e-5    3.4e-4    3.9e-5
    ours, float32 - float64 3.3e-5    3.3e-4    4.6e-5

Without the rounding of features float32 and float64 are 3.5e-6 and 1.9e-5 apart. With it, each of the three is as far
from the other two. Hallo's own code does no better: run here (its public files read and typed in outside the
repository, clip 0's inputs and noise bitwise the golden ones; torch 2.13 on an AMD EPYC), it misses its own golden
second clip, and itself, by as much:

    Hallo's own code                  clip 0    clip 1    clip 1 from golden clip 0
    one thread - golden               2.5e-5    3.3e-4    3.2e-5
    two threads - golden              3.1e-5    3.5e-4    3.6e-5
    without oneDNN - golden           5.1e-5    4.6e-4    5.1e-5
    AVX2 kernels - golden             4.6e-5    4.3e-4    5.7e-5
    float64, still rounded - golden   3.4e-5    3.6e-4    4.5e-5
    one thread - two threads                    3.3e-4
    without oneDNN - AVX2 kernels               4.7e-4
    features not rounded - golden     3.1e-4    1.6e-3    3.6e-4

A relative RMS below 5e-4 cannot be told from Hallo on another processor; a wrong rounding can (1.6e-3). So the second
clip is held to 6e-4, and made besides from the golden frames of the first, where only its own error counts
(`clip1.from_golden.…`, 1e-4).

A folder with `vae_manifest.json`; the network's weights are those of the folder hallo_step beside it. Only the noise,
the audio windows and the masks are given: they come from the released code's own front ends.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file
from torch import Tensor

from emo_core.config import HALLO, EmoConfig, ScheduleConfig
from emo_core.data import AudioFeatures, Clip, ClipState, GenerateSettings, Portrait
from emo_core.models.emo import EmoModel
from emo_core.pipeline import generate as pipeline
from emo_core.pipeline.motion import next_state
from emo_core.pipeline.reference import encode_reference
from emo_core.weights.shapes import below, face_locator_of, mlp_projection_of, vae_of

from .hallo import audio_regions
from .weights import Manifest, load, network_config, regenerate

VAE_SALT = 3


def applies(folder: Path) -> bool:
    return (folder / "vae_manifest.json").is_file()


def config_of(folder: Path, manifest: Manifest, network: Mapping[str, Any]) -> EmoConfig:
    """Of the model that the released code ran."""
    meta = json.loads((folder / "meta.json").read_text())
    said, size = network["config"], network["config"]["latent"] * 8
    network = {**network, "reference_rounding": HALLO.unet.reference_rounding}
    vae = vae_of(json.loads((folder / "vae_manifest.json").read_text()), HALLO.vae)
    encoder = dataclasses.replace(HALLO.audio_encoder, hidden_size=said["audio"]["channels"], heads=4)
    fields = {field.name for field in dataclasses.fields(ScheduleConfig)}
    return dataclasses.replace(
        HALLO,
        unet=network_config(manifest, network, HALLO.unet),
        face_locator=face_locator_of(below(manifest, "face_locator."), HALLO.face_locator),
        audio_encoder=dataclasses.replace(encoder, pos_conv_groups=4, layers=said["audio"]["blocks"]),
        audio_projection=mlp_projection_of(below(manifest, "audioproj."), HALLO.audio_projection),
        vae=vae,
        schedule=ScheduleConfig(**{key: value for key, value in meta["scheduler"].items() if key in fields}),
        clip=dataclasses.replace(HALLO.clip, frames=said["frames"], motion_frames=said["motion_frames"], size=size),
    )


def build(folder: Path, salt: int | None) -> EmoModel:
    weights = folder.parent / "hallo_step"
    manifest = json.loads((weights / "weights_manifest.json").read_text())
    model = EmoModel(config_of(folder, manifest, json.loads((weights / "meta.json").read_text()))).eval()
    drawn = regenerate(manifest, salt or 0)
    load(model.backbone, drawn, "denoising_unet.")
    load(model.reference_net, drawn, "reference_unet.")
    assert model.reference_net.identity_projection is not None
    load(model.reference_net.identity_projection, drawn, "imageproj.")
    load(model.face_locator, drawn, "face_locator.")
    load(model.audio_projection, drawn, "audioproj.")
    load(model.vae.autoencoder, regenerate(json.loads((folder / "vae_manifest.json").read_text()), VAE_SALT), "")
    return model


def run(folder: Path, salt: int | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(what we got, what is expected), by golden name."""
    inputs, expected = load_file(folder / "inputs.safetensors"), load_file(folder / "outputs.safetensors")
    meta = json.loads((folder / "meta.json").read_text())
    model = build(folder, salt)
    crop = (inputs["source_image"].permute(1, 2, 0) + 1) / 2
    size = float(crop.shape[0])
    portrait = Portrait(crop, (0.0, 0.0, size, size), (0.0, 0.0, size, size), crop, identity=inputs["face_emb"][0])
    with torch.no_grad():
        reference = dataclasses.replace(encode_reference(model, portrait), audio_regions=audio_regions(inputs))
    audio = AudioFeatures(expected["audio_windows"], model.config.clip.fps)
    settings = GenerateSettings(steps=len(expected["timesteps"]), guidance=meta["guidance"])
    noises = {index: expected[f"clip{index}.noise"][0].transpose(0, 1) for index in range(2)}
    latents: list[Tensor] = []
    clips: list[Clip] = []
    real = pipeline._decode

    def decode(run: Any, plan: Any, made: Tensor, thrift: Any) -> Any:
        latents.append(made)
        return real(run, plan, made, thrift)

    def noise(seed: int, index: int, shape: Any, config: Any) -> Tensor:
        return noises[index]

    def region(model: EmoModel, region: Tensor, strength: float) -> Tensor:
        """The golden region is another in each colour."""
        feature: Tensor = model.face_locator(inputs["face_region"][None, None])
        return feature

    replaced = {"_decode": decode, "clip_noise": noise, "encode_region": region}
    with torch.no_grad(), mock.patch.multiple(pipeline, **replaced):
        clips += pipeline.generate(model, reference, audio, settings=settings)
        golden = expected["clip0.video"][0].permute(1, 2, 3, 0)
        state = next_state(model, ClipState(), latents=latents[0], frames=golden)
        clips += pipeline.generate(model, reference, audio, settings=settings, resume=state)
    got, wanted = {}, {}
    for name, made, clip in zip(("clip0", "clip1", "clip1.from_golden"), latents, clips, strict=True):
        golden = expected[f"clip{clip.index}.video"]
        got[f"{name}.final_latents"] = made.transpose(0, 1)[None]
        wanted[f"{name}.final_latents"] = expected[f"clip{clip.index}.final_latents"]
        got[f"{name}.video"], wanted[f"{name}.video"] = _shown(clip.frames, golden), golden
    return got, wanted


def _shown(frames: Tensor, expected: Tensor) -> Tensor:
    """Frames (f, H, W, 3) as (1, 3, f, H, W); a folder may keep the last ones only."""
    return frames.permute(3, 0, 1, 2)[None, :, -expected.shape[2] :]
