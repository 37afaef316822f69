"""The backbone (paper 3.2): SD1.5's U-Net over the frames of clips, with reference and audio attention at every site
and temporal modules at every level.

In: noisy latents (b, f, c, h, w), timesteps, ReferenceNet's features as a `ReferenceCache`, `Conditions`. Out: the
prediction, of the latents' shape. Nothing is kept between calls.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..config import UNetConfig
from ..data import Conditions, DeepFeatures, ReferenceCache, ReferenceFeatures
from ..errors import EmoInputError
from .appended import AppendedBlock
from .audio_module import audio_module
from .blocks import Block, Parts, UNet
from .context import CallContext
from .temporal import TemporalModule
from .transformer import BackboneBlock, SpatialTransformer

BLOCKS = {"separate": BackboneBlock, "appended": AppendedBlock}


class AudioInTime(nn.Module):
    """A frame's mean audio token, added to its time embedding; zero at first. Not in the paper (see UNetConfig)."""

    def __init__(self, audio_dim: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(audio_dim, width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, audio: Tensor) -> Tensor:
        """audio (r, k, d) -> (r, width)."""
        return self.out(functional.silu(self.hidden(audio.mean(dim=1))))


class Backbone(UNet):
    """The denoising network."""

    def __init__(self, config: UNetConfig) -> None:
        motion, audio, block = config.motion, config.audio_module, BLOCKS[config.reference_attention]
        parts = Parts(
            attention=lambda site, width: SpatialTransformer(config, width, block(config, width, site)),
            motion=None if motion is None else lambda site, width: TemporalModule(config, motion, width, site=site),
            audio=None
            if audio is None
            else lambda site, width, given: audio_module(config, audio, site, width=width, given=given),
        )
        super().__init__(config, parts, config.in_channels * (2 if config.concat_reference else 1))
        width = config.block_out_channels[0]
        self.conv_norm_out = nn.GroupNorm(config.norm_groups, width, eps=1e-5)
        self.conv_out = nn.Conv2d(width, config.out_channels, 3, padding=1)
        blocks = (module for module in self.modules() if isinstance(module, Block))
        self._without_motion = {block.name for block in blocks if not hasattr(block, "motion_modules")}
        self.audio_time = AudioInTime(config.audio_dim, width * 4) if config.audio_in_time else None

    def forward(
        self,
        latents: Tensor,
        timesteps: Tensor,
        reference: ReferenceCache,
        conditions: Conditions,
        *,
        temporal: bool = True,
        deep: DeepFeatures | None = None,
    ) -> Tensor:
        """latents (b, f, c, h, w), timesteps (b,) -> (b, f, c, h, w).

        `reference` and `conditions` of batch 1 serve all b. Without `temporal` no temporal module runs (stage 1).
        `deep` features are filled if they are empty, and used in place of the blocks that make them if not.
        """
        batch, frames = latents.shape[:2]
        audio = conditions.audio_tokens
        context = CallContext(
            frames=frames,
            reference=reference,
            audio=None if audio is None else audio.expand(batch, -1, -1, -1).flatten(0, 1),
            speed=conditions.speed_tokens,
            temporal=temporal,
            rows_silent=0 if audio is None else conditions.clips_silent * (batch // len(audio)) * frames,
        )
        temb = self.embed_time(timesteps).repeat_interleave(frames, dim=0)
        if self.audio_time is not None and context.audio is not None:
            temb = temb + self.audio_time(context.audio)
        hidden = self.conv_in(self._with_portrait(latents, reference, conditions).flatten(0, 1))
        if conditions.face_feature is not None:
            hidden = (hidden.unflatten(0, (batch, frames)) + conditions.face_feature).flatten(0, 1)
        hidden = self.run_blocks(hidden, temb, context, deep)
        hidden = self.conv_out(functional.silu(self.conv_norm_out(hidden)))
        return hidden.unflatten(0, (batch, frames))

    def project_reference(self, features: ReferenceFeatures) -> ReferenceCache:
        """Keys and values of the reference attention, once for all frames and steps. Features of zero give zeros."""
        keys, values = {}, {}
        for module in self.modules():
            if isinstance(module, BackboneBlock | AppendedBlock):
                site = module.site
                keys[site], values[site] = module.project_reference(features.attention[site])
        return ReferenceCache(
            keys=keys,
            values=values,
            motion=features.motion,
            latents=features.latents,
            identity=features.identity,
            nobody=None if features.nobody is None else self.project_reference(features.nobody),
            in_turn=features.in_turn,
        )

    def is_unread(self, key: str) -> bool:
        """Whether a key of a released file belongs to a motion module that is never run (5 of Hallo's 21)."""
        place, _, rest = key.partition(".motion_modules.")
        return bool(rest) and place in self._without_motion

    def _with_portrait(self, latents: Tensor, reference: ReferenceCache, conditions: Conditions) -> Tensor:
        """The portrait's latent, turned if it is given so, beside each frame's, for networks that were trained so."""
        if not self.config.concat_reference:
            return latents
        if conditions.posed_portrait is not None:
            return torch.cat([latents, conditions.posed_portrait.expand_as(latents).to(latents.dtype)], dim=2)
        if reference.latents is None:
            raise EmoInputError("reference", "no portrait latent", "one: this model concatenates it to the noise")
        portrait = reference.latents.unsqueeze(1).expand(latents.shape[0], latents.shape[1], -1, -1, -1)
        return torch.cat([latents, portrait.to(latents.dtype)], dim=2)
