"""What is measured: a model, a portrait, a sound, by name. Random weights stand in for sizes that nobody ships."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass

import torch

from ..config import EMO_MINI, EMO_MINI_HEADS, HALLO, EmoConfig, IdentityConfig
from ..data import AudioFeatures, Controls, GenerateSettings, Portrait, Waveform
from ..models.audio_projection import window_frames
from ..models.compiled import compile_regions
from ..models.emo import EmoModel
from .random_weights import drawn_model, random_model


@dataclass(frozen=True)
class Case:
    """Inputs of one comparison. `clips` clips of the model's length."""

    name: str
    model: EmoModel
    portrait: Portrait
    audio: AudioFeatures
    controls: Controls
    settings: GenerateSettings


def mini_case(*, clips: int = 2, device: torch.device) -> Case:
    """emo-mini as it ships."""
    from ..weights.file import load_model

    return case_of("emo-mini", load_model("emo-mini", device=device), clips=clips, settings=GenerateSettings())


def middle_case(*, frames: int = 4, steps: int = 2, device: torch.device) -> Case:
    """Hallo's network at a fifth of its width (64-128-256-256), 512x512 pixels, guidance on, random weights."""
    model = random_model(middle_config(frames=frames), device=device)
    return case_of("middle", model, clips=2, settings=GenerateSettings(steps=steps, guidance=3.5))


def middle_config(*, widths: tuple[int, ...] = (64, 128, 256, 256), frames: int, size: int = 512) -> EmoConfig:
    """Hallo's shape with small encoders around it. Its features are not rounded to half precision, which no equality
    would survive, and the halves of guidance are laid out as they were meant (`IdentityConfig.halves`)."""
    return dataclasses.replace(
        HALLO,
        name="middle",
        unet=dataclasses.replace(
            HALLO.unet,
            block_out_channels=widths,
            audio_dim=128,
            reference_rounding="none",
            identity=IdentityConfig(embedding=64, width=128, halves="matched"),
        ),
        audio_encoder=EMO_MINI.audio_encoder,
        audio_projection=EMO_MINI.audio_projection,
        face_locator=EMO_MINI_HEADS.face_locator,
        vae=dataclasses.replace(EMO_MINI_HEADS.vae, latent_channels=HALLO.unet.in_channels, channel_scale=()),
        clip=dataclasses.replace(HALLO.clip, frames=frames, size=size, motion_from="latents"),
    )


def full_case(
    *,
    steps: int | None = None,
    clips: int = 1,
    device: torch.device,
    dtype: torch.dtype = torch.float16,
    config: EmoConfig = HALLO,
) -> Case:
    """Hallo as released, in full (or another of its shape), 512x512 pixels, guidance on; weights are drawn on `device`
    with values of about the size that training leaves. As `middle_config` in what no comparison would survive."""
    assert config.unet.identity is not None
    unet = dataclasses.replace(
        config.unet, reference_rounding="none", identity=dataclasses.replace(config.unet.identity, halves="matched")
    )
    model = drawn_model(dataclasses.replace(config, name="full", unet=unet), device=device, dtype=dtype)
    return case_of(
        "full", model, clips=clips, settings=GenerateSettings(steps=steps or config.clip.steps, guidance=3.5)
    )


def case_of(name: str, model: EmoModel, *, clips: int, settings: GenerateSettings) -> Case:
    """Inputs for a model: noise for a picture, a face embedding where one is read, and a sound of `clips` clips."""
    config, generator = model.config, torch.Generator().manual_seed(3)
    size, frames = config.clip.size, clips * config.clip.frames
    shape = (frames, window_frames(config.audio_projection), config.audio_encoder.layers)
    if config.audio_projection.features != "all_layers":
        shape = (*shape[:2], 1)
    windows = torch.randn((*shape, config.audio_encoder.hidden_size), generator=generator)
    crop = torch.rand((size, size, 3), generator=generator)
    box = (size * 0.25, size * 0.25, size * 0.75, size * 0.8)
    who = config.unet.identity
    identity = None if who is None else torch.randn(who.embedding, generator=generator)
    sound = Waveform(torch.zeros(1, 16), 16_000)
    return Case(
        name=name,
        model=model,
        portrait=Portrait(crop=crop, face_box=box, crop_box=(0, 0, size, size), source=crop, identity=identity),
        audio=AudioFeatures(windows, config.clip.fps, sound),
        controls=Controls(),
        settings=settings,
    )


def compiled_case(case: Case) -> Case | None:
    """The case with a compiled twin of its model, which shares the weights; None where there is no compiler."""
    tensors = [*case.model.parameters(), *case.model.buffers()]
    twin = copy.deepcopy(case.model, {id(tensor): tensor for tensor in tensors})
    return dataclasses.replace(case, model=twin) if compile_regions(twin) else None
