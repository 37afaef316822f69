"""The skeleton that backbone and ReferenceNet share: SD1.5's U-Net with diffusers' names, at any size.

A layer is a residual block, then (where the level has one) a transformer, then (where there is one) an audio module,
then (where there is one) a motion module: the order in which EMO, AnimateDiff, V-Express and Hallo run them. What these
are is the network's business: they are made by `Parts` and called as `at_site(hidden, context)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from ..config import UNetConfig
from ..data import DeepFeatures
from .library_blocks import downsample, residual_block, time_embedding, upsample


class SiteModule(Protocol):
    """What sits at a site. `at_site` looks up in the context what the site reads, calls the module with tensors and
    numbers alone, and leaves with the context what it hands on."""

    def at_site(self, hidden: Tensor, context: Any) -> Tensor: ...


@dataclass(frozen=True)
class Parts:
    """How a network makes what sits at a site: `attention(site, width)`, `motion(site, width)` or None for no such,
    `audio(site, width, block_input)`, which is also told the width of what comes into its block, or None."""

    attention: Callable[[str, int], nn.Module]
    motion: Callable[[str, int], nn.Module] | None
    audio: Callable[[str, int, int], nn.Module] | None = None


class Block(nn.Module):
    """The layers of one level on one way (down, middle, up): resnets.j -> attentions.j -> audio_modules.j ->
    motion_modules.j."""

    def __init__(self, name: str, config: UNetConfig, widths: list[tuple[int, int]], *, attention: bool) -> None:
        super().__init__()
        self.name, self.widths, self.has_attention = name, widths, attention
        time_width = config.block_out_channels[0] * 4
        groups = config.norm_groups
        self.resnets = nn.ModuleList(residual_block(i, o, time_width=time_width, groups=groups) for i, o in widths)

    def furnish(self, config: UNetConfig, parts: Parts, block_inputs: list[int]) -> None:
        """Put transformers, audio and motion modules after the first residual blocks, one for each of `block_inputs`:
        the width that comes into the block, from the level before, at that layer."""
        outs = [out for _, out in self.widths[: len(block_inputs)]]
        if self.has_attention:
            made = [parts.attention(f"{self.name}.attentions.{j}", w) for j, w in enumerate(outs)]
            self.attentions = nn.ModuleList(made)
        if self.has_attention and parts.audio is not None:
            audio, both = parts.audio, zip(outs, block_inputs, strict=True)
            self.audio_modules = nn.ModuleList(
                audio(f"{self.name}.audio_modules.{j}", w, i) for j, (w, i) in enumerate(both)
            )
        sites = config.motion.sites if config.motion is not None else "none"
        if parts.motion is not None and (sites == "all" or (sites == "with_attention" and self.has_attention)):
            motion = parts.motion
            self.motion_modules = nn.ModuleList(
                motion(f"{self.name}.motion_modules.{j}", w) for j, w in enumerate(outs)
            )

    def layer(self, index: int, hidden: Tensor, temb: Tensor, context: Any) -> Tensor:
        """hidden (r, c, h, w), temb (r, d) -> (r, c', h, w)."""
        return self.extras(index, self.resnets[index](hidden, temb), context)

    def extras(self, index: int, hidden: Tensor, context: Any) -> Tensor:
        """What follows residual block `index`."""
        for name in ("attentions", "audio_modules", "motion_modules"):
            if hasattr(self, name):
                hidden = cast(SiteModule, getattr(self, name)[index]).at_site(hidden, context)
        return hidden


def site_level(site: str, levels: int) -> int:
    """The level of a site such as "up_blocks.1.attentions.0": how many times its maps are smaller by two."""
    way, _, index = site.partition(".")
    if way == "mid_block":
        return levels - 1
    number = int(index.split(".")[0])
    return number if way == "down_blocks" else levels - 1 - number


def level_sides(side: int, levels: int) -> list[int]:
    """How wide the maps of each level are, for latents that are `side` wide."""
    return [-(-side // 2**level) for level in range(levels)]


class DownBlock(Block):
    """Layers, then half the size. Gives the hidden states and what the way up will want of them."""

    def __init__(self, name: str, config: UNetConfig, parts: Parts, level: int) -> None:
        widths = config.block_out_channels
        width = widths[level]
        pairs = [(widths[max(level - 1, 0)], width)] + [(width, width)] * (config.layers_per_block - 1)
        super().__init__(name, config, pairs, attention=config.attention_levels[level])
        self.furnish(config, parts, [before for before, _ in pairs])
        self.downsamplers: nn.ModuleList | None = None
        if level < len(widths) - 1:
            self.downsamplers = nn.ModuleList([downsample(width)])

    def forward(self, hidden: Tensor, temb: Tensor, context: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        skips = []
        for j in range(len(self.resnets)):
            hidden = self.layer(j, hidden, temb, context)
            skips.append(hidden)
        if self.downsamplers is not None:
            hidden = self.downsamplers[0](hidden)
            skips.append(hidden)
        return hidden, tuple(skips)


class MidBlock(Block):
    """Residual block, transformer, motion module, residual block; always with attention, as SD1.5."""

    def __init__(self, name: str, config: UNetConfig, parts: Parts) -> None:
        width = config.block_out_channels[-1]
        super().__init__(name, config, [(width, width)] * 2, attention=True)
        self.furnish(config, parts, [width])

    def forward(self, hidden: Tensor, temb: Tensor, context: Any) -> Tensor:
        return self.resnets[1](self.layer(0, hidden, temb, context), temb)


class UpBlock(Block):
    """Layers that each take one skip, then twice the size (that of the next skip, where a size was odd)."""

    def __init__(self, name: str, config: UNetConfig, parts: Parts, level: int) -> None:
        widths = config.block_out_channels
        top = len(widths) - 1
        width, below, above = widths[level], widths[min(level + 1, top)], widths[max(level - 1, 0)]
        n = config.layers_per_block
        pairs = [((below if j == 0 else width) + (above if j == n else width), width) for j in range(n + 1)]
        super().__init__(name, config, pairs, attention=config.attention_levels[level])
        self.furnish(config, parts, [above] * len(pairs))
        self.upsamplers: nn.ModuleList | None = None
        if level > 0:
            self.upsamplers = nn.ModuleList([upsample(width)])

    def forward(self, hidden: Tensor, temb: Tensor, context: Any, skips: list[Tensor]) -> Tensor:
        """Takes its skips off the end of `skips`."""
        hidden = self.layers(range(len(self.resnets)), hidden, temb, context, skips)
        if self.upsamplers is not None:
            size = skips[-1].shape[-2:]
            doubled = (hidden.shape[-2] * 2, hidden.shape[-1] * 2)
            hidden = self.upsamplers[0](hidden, None if size == doubled else size)
        return hidden

    def layers(self, which: range, hidden: Tensor, temb: Tensor, context: Any, skips: list[Tensor]) -> Tensor:
        """Some of its layers, each with a skip off the end of `skips`."""
        for j in which:
            hidden = self.layer(j, torch.cat([hidden, skips.pop()], dim=1), temb, context)
        return hidden


class UNet(nn.Module):
    """conv_in, time embedding, the blocks down, in the middle and up. What goes in and comes out is the subclass's."""

    def __init__(self, config: UNetConfig, parts: Parts, in_channels: int) -> None:
        super().__init__()
        self.config = config
        widths = config.block_out_channels
        levels = range(len(widths))
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.time_proj, self.time_embedding = time_embedding(widths[0])
        self.down_blocks = nn.ModuleList(DownBlock(f"down_blocks.{i}", config, parts, i) for i in levels)
        self.mid_block = MidBlock("mid_block", config, parts)
        ups = enumerate(reversed(levels))
        self.up_blocks = nn.ModuleList(UpBlock(f"up_blocks.{i}", config, parts, level) for i, level in ups)

    def embed_time(self, timesteps: Tensor) -> Tensor:
        """timesteps (b,) -> (b, 4 * width), in the dtype of the weights."""
        return self.time_embedding(self.time_proj(timesteps).to(self.conv_in.weight.dtype))

    def run_blocks(self, hidden: Tensor, temb: Tensor, context: Any, deep: DeepFeatures | None = None) -> Tensor:
        """hidden (r, c, h, w) after conv_in, temb (r, d) -> (r, c, h, w) before the output convolution.

        Empty `deep` features are filled on the way; where they are full, only the layers around them are run.
        """
        first, last = cast(DownBlock, self.down_blocks[0]), cast(UpBlock, self.up_blocks[-1])
        layers = len(last.resnets)
        cut = layers if deep is None else layers - min(deep.shallow_layers, layers - 1)
        skips = [hidden]
        if deep is not None and deep.hidden is not None:
            for j in range(layers - cut - 1):
                hidden = first.layer(j, hidden, temb, context)
                skips.append(hidden)
            return last.layers(range(cut, layers), deep.hidden, temb, context, skips)
        for down in self.down_blocks:
            hidden, more = down(hidden, temb, context)
            skips.extend(more)
        hidden = self.mid_block(hidden, temb, context)
        for up in self.up_blocks[:-1]:
            hidden = up(hidden, temb, context, skips)
        hidden = last.layers(range(cut), hidden, temb, context, skips)
        if deep is not None:
            deep.hidden = hidden
        return last.layers(range(cut, layers), hidden, temb, context, skips)
