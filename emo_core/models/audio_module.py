"""Hallo's audio module: a transformer of its own after the spatial one, in which sound reaches three regions apart.

In: hidden states, the audio tokens of each frame, how much of each pixel is full face (pose), face (expression) and
lips. Out: hidden states. Each region has a cross-attention to all tokens, whose output is masked to the region, passed
through a 1x1 convolution that starts at zero, and weighed. Parameter names are Hallo's (`audio_modules`).
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from ..config import AudioModuleConfig, UNetConfig
from ..errors import EmoInputError
from .attention import Attention
from .blocks import site_level
from .context import CallContext, SiteContext
from .feed_forward import FeedForward
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
        self.ff = FeedForward(width)

    def reads(self, context: CallContext, pixels: int) -> tuple[SiteContext, Tensor | None, tuple[float, ...]]:
        masks = None if context.audio is None else self._masks(context, pixels)
        return context.at(None, pixels), masks, context.reference.region_weights

    def forward(self, tokens: Tensor, given: SiteContext, masks: Tensor | None, weights: tuple[float, ...]) -> Tensor:
        """tokens (b * f, s, c); masks (r, 3, s), r a divisor of the rows; a weight for each of the three regions."""
        tokens = tokens + self.attn1(self.norm1(tokens))
        if given.audio is not None and masks is not None:
            normed = self.norm2(tokens[given.rows_silent :])
            masks, heard = masks.to(tokens.dtype), normed.new_zeros(())
            for number, (region, weight) in enumerate(zip(REGIONS, weights, strict=True)):
                attention = cast(Attention, self.get_submodule(f"attn2_{number}"))
                gate = cast(nn.Conv2d, self.get_submodule(f"zero_conv_{region}"))
                attended = attention.hear(normed, given.audio, given.rows_silent).unflatten(0, (-1, len(masks)))
                masked = (attended * masks[:, number].unsqueeze(-1)).flatten(0, 1)
                heard = heard + weight * pointwise(gate, masked)
            tokens = tokens + given.emphasise(heard)
        return tokens + self.ff(self.norm3(tokens))

    def _masks(self, context: CallContext, pixels: int) -> Tensor:
        """The regions of its level, (r, 3, s)."""
        regions = context.reference.audio_regions
        if self.level < len(regions) and regions[self.level].shape[1:] == (3, pixels):
            return regions[self.level]
        shapes = [tuple(region.shape) for region in regions]
        allowed = f"(r, 3, {pixels}) at level {self.level}"
        raise EmoInputError("audio regions", f"masks of shapes {shapes}", allowed, "Encode the portrait again.")


def audio_module(config: UNetConfig, module: AudioModuleConfig, site: str, *, width: int, given: int) -> nn.Module:
    """The audio module of a site that is `width` wide, in a block that `given` channels come into."""
    inner = given if module.width == "block_input" else width
    level = site_level(site, len(config.block_out_channels))
    return SpatialTransformer(config, width, RegionBlock(config, inner, level), inner=inner)
