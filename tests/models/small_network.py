"""Small networks in which every parameter is non-zero, and inputs for them."""

import dataclasses

import torch

from emo_core.config import TINY, EmoConfig
from emo_core.data import Conditions
from emo_core.models.reference_net import ReferenceNet
from emo_core.models.unet import Backbone


def stir(module, scale=0.05):
    """Move every parameter off its initial value, so that zero-initialised layers take part."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return module.eval()


@dataclasses.dataclass
class Small:
    config: EmoConfig
    backbone: Backbone
    reference_net: ReferenceNet
    latents: torch.Tensor
    portrait: torch.Tensor
    motion_frames: torch.Tensor
    timesteps: torch.Tensor
    conditions: Conditions

    def cache(self, *, motion=True):
        features = self.reference_net(self.portrait, self.motion_frames if motion else None)
        return self.backbone.project_reference(features)


def make_small(config=TINY, batch=2, size=8, **changes):
    torch.manual_seed(0)
    unet = dataclasses.replace(config.unet, **changes)
    frames, n = config.clip.frames, config.clip.motion_frames
    shape = (unet.in_channels, size, size)
    return Small(
        config=dataclasses.replace(config, unet=unet),
        backbone=stir(Backbone(unet)),
        reference_net=stir(ReferenceNet(unet)),
        latents=torch.randn(batch, frames, *shape),
        portrait=torch.randn(batch, *shape),
        motion_frames=torch.randn(batch, n, *shape),
        timesteps=torch.arange(batch) * 300 + 50,
        conditions=Conditions(
            audio_tokens=torch.randn(batch, frames, config.audio_projection.tokens, unet.audio_dim),
            face_feature=torch.randn(batch, 1, unet.block_out_channels[0], size, size),
            speed_tokens=torch.randn(batch, frames, unet.speed.width) if unet.speed else None,
        ),
    )
