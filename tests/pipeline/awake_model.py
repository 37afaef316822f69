"""A tiny model whose every layer speaks, and sound for it."""

from __future__ import annotations

import dataclasses

import torch

from emo_core.config import ECHOMIMIC, HALLO, TINY, AudioModuleConfig, ClipConfig, EmoConfig, IdentityConfig
from emo_core.data import AudioFeatures
from emo_core.models.emo import EmoModel


def awake(config: EmoConfig) -> EmoModel:
    """Random weights, also where training starts at zero, so that every condition moves the picture."""
    torch.manual_seed(0)
    model = EmoModel(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for name, p in model.named_parameters():
        if not name.startswith("audio_encoder."):
            fan = p[0].numel() if p.ndim > 1 else 1
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(noise / fan**0.5 if p.ndim > 1 else 0.1 * noise + float(name.endswith(".weight")))
    return model


def with_clip(config: EmoConfig, **changes: object) -> EmoConfig:
    clip: ClipConfig = dataclasses.replace(config.clip, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(config, clip=clip)


def hallo(frames: int = 4, halves: str = "interleaved") -> EmoConfig:
    """Hallo's parts at TINY's size."""
    unet = dataclasses.replace(
        TINY.unet,
        reference_attention="appended",
        identity=IdentityConfig(embedding=8, tokens=2, width=12, halves=halves),  # type: ignore[arg-type]
        audio_module=AudioModuleConfig(),
        motion=dataclasses.replace(HALLO.unet.motion, heads=2),
        speed=None,
    )
    clip = dataclasses.replace(TINY.clip, frames=frames, first_motion="portrait")
    schedule = dataclasses.replace(HALLO.schedule)
    return dataclasses.replace(TINY, unet=unet, clip=clip, schedule=schedule, guidance=HALLO.guidance)


def echomimic() -> EmoConfig:
    """EchoMimic's attention at TINY's size, clip after clip."""
    unet = dataclasses.replace(TINY.unet, reference_attention="appended", audio_weight=3.0, speed=None)
    return dataclasses.replace(TINY, unet=unet, guidance=ECHOMIMIC.guidance)


def sound(frames: int) -> AudioFeatures:
    """Windows of TINY's encoder; a longer one begins like a shorter one."""
    windows = torch.randn(200, 5, 2, 16, generator=torch.Generator().manual_seed(3))
    return AudioFeatures(windows[:frames], 25.0)
