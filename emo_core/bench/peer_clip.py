"""One clip's input for a family's own code and for ours alike: noise, a portrait, a sound, made of no files."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data import AudioFeatures, GenerateSettings, Portrait
from ..models.blocks import level_sides
from ..models.emo import EmoModel
from .cases import case_of


@dataclass(frozen=True)
class ClipInput:
    """One clip as both sides get it, float32 on the CPU.

    `noise` (1, f, c, h, w); `latents` (1, c, h, w) of the portrait, `motion_latents` (n, c, h, w), scaled; `audio` has
    windows (f, w, l, d); `portrait` has the face embedding (e,) and the face box, of which `face_region` (H, W) and
    `audio_regions` (1, 3, s * s) by level are made; `region_weights` are Hallo's pose, face and lip weight.
    """

    noise: Tensor
    latents: Tensor
    motion_latents: Tensor
    audio: AudioFeatures
    portrait: Portrait
    face_region: Tensor
    audio_regions: tuple[Tensor, ...]
    region_weights: tuple[float, float, float]
    steps: int
    guidance: float

    @property
    def frames(self) -> int:
        return int(self.noise.shape[1])


def clip_input(model: EmoModel, *, steps: int) -> ClipInput:
    """Noise for latents, sound and a face, the same in every run; the clip is not a video's first."""
    from ..diffusion.noise import clip_noise
    from ..face.audio_regions import audio_regions
    from ..face.region import face_region_mask

    config = model.config
    case = case_of(config.name, model, clips=1, settings=GenerateSettings())
    draw = torch.Generator().manual_seed(7)
    portrait, expand = case.portrait, config.face_locator.expand
    side = config.clip.size // config.vae.downscale
    latent = (config.vae.latent_channels, side, side)
    sides = level_sides(side, len(config.unet.block_out_channels))
    return ClipInput(
        noise=clip_noise(0, 1, (config.clip.frames, *latent), config.schedule)[None],
        latents=torch.randn((1, *latent), generator=draw),
        motion_latents=torch.randn((config.clip.motion_frames, *latent), generator=draw),
        audio=case.audio,
        portrait=portrait,
        face_region=face_region_mask(None, config.clip.size, portrait, expand_x=expand, expand_y=expand),
        audio_regions=audio_regions(portrait, sides),
        region_weights=(1.0, 1.2, 0.8),
        steps=steps,
        guidance=config.guidance.scale,
    )
