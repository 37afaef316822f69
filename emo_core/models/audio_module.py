"""Hallo's audio module: a transformer of its own after the spatial one, in which sound reaches three regions apart.

In: hidden states, the audio tokens of each frame, how much of each pixel is full face (pose), face (expression) and
lips. Out: hidden states. Each region has a cross-attention to all tokens, whose output is masked to the region, passed
through a 1x1 convolution that starts at zero, and weighed. Parameter names are Hallo's (`audio_modules`).
"""

from __future__ import annotations

from typing import cast

from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from ..config import AudioModuleConfig, UNetConfig
from ..errors import EmoInputError
from .attention import Attention
from .blocks import site_level
from .context import CallContext
from .transformer import SpatialTransformer, pointwise

REGIONS = ("full", "face", "lip")  # attn2_0, attn2_1, attn2_2


class RegionBlock(nn.Module):
    """Self-attention -> three masked audio attentions, added up -> feed-forward; on tokens (b * f, s, c)."""

    def __init__(self, config: UNetConfig, width: int, level: int) -> None:
        super().__init__()
        self.level = level
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, config.heads)
        self.norm2 = nn.LayerNorm(width)
        for number, region in enumerate(REGIONS):
            self.add_module(f"attn2_{number}", Attention(width, config.heads, config.audio_dim))
            gate = nn.Conv2d(width, width, 1)
            nn.init.zeros_(gate.weight)
            nn.init.zeros_(gate.bias)  # type: ignore[arg-type]
            self.add_module(f"zero_conv_{region}", gate)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width, activation_fn="geglu")

    def forward(self, tokens: Tensor, context: CallContext) -> Tensor:
        tokens = tokens + self.attn1(self.norm1(tokens))
        if context.audio is not None:
            normed = self.norm2(tokens[context.rows_silent :])
            tokens = tokens + self._hear(normed, context.audio, context)
        return tokens + self.ff(self.norm3(tokens))

    def _hear(self, normed: Tensor, audio: Tensor, context: CallContext) -> Tensor:
        masks = self._masks(normed, context)
        heard = normed.new_zeros(())
        for number, (region, weight) in enumerate(zip(REGIONS, context.reference.region_weights, strict=True)):
            attention = cast(Attention, self.get_submodule(f"attn2_{number}"))
            gate = self.get_submodule(f"zero_conv_{region}")
            attended = attention.hear(normed, audio, context.rows_silent).unflatten(0, (-1, len(masks)))
            masked = (attended * masks[:, number].unsqueeze(-1)).flatten(0, 1)
            heard = heard + weight * pointwise(gate, masked)  # type: ignore[arg-type]
        return context.emphasise(heard)

    def _masks(self, normed: Tensor, context: CallContext) -> Tensor:
        """(r, 3, s), r a divisor of the rows."""
        pixels, regions = normed.shape[1], context.reference.audio_regions
        if self.level < len(regions) and regions[self.level].shape[1:] == (3, pixels):
            return regions[self.level].to(normed.dtype)
        shapes = [tuple(region.shape) for region in regions]
        allowed = f"(r, 3, {pixels}) at level {self.level}"
        raise EmoInputError("audio regions", f"masks of shapes {shapes}", allowed, "Encode the portrait again.")


def audio_module(config: UNetConfig, module: AudioModuleConfig, site: str, *, width: int, given: int) -> nn.Module:
    """The audio module of a site that is `width` wide, in a block that `given` channels come into."""
    inner = given if module.width == "block_input" else width
    level = site_level(site, len(config.block_out_channels))
    return SpatialTransformer(config, width, RegionBlock(config, inner, level), inner=inner)
