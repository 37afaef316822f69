"""Spatial transformers: at each site of the U-Net, self-attention, reference attention, audio attention, feed-forward.

The backbone's block is the paper's (3.2, "Reference-Attention", "Audio Layers"), in V-Express's order and names; each
part has its own LayerNorm and residual. ReferenceNet's block is the same without reference and audio attention and
hands on `norm2` of what stands after its self-attention. Both sit in SD1.5's shell (GroupNorm, 1x1 in, 1x1 out).
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..config import UNetConfig
from .attention import Attention
from .context import CallContext, SiteContext
from .feed_forward import FeedForward


class FeatureSink(Protocol):
    """Where ReferenceNet's sites leave what they hand on; see `reference_net.Collector`."""

    def take_attention(self, site: str, features: Tensor) -> None: ...

    def wants_more_after(self, site: str) -> bool: ...

    @property
    def identity(self) -> Tensor | None: ...


class SiteBlock(Protocol):
    """A block inside a shell. `reads` looks up what its site reads, on maps of `pixels`: tensors, numbers and
    `SiteContext`s, which its `forward` takes after the tokens."""

    def reads(self, context: Any, pixels: int) -> tuple[Any, ...]: ...


class BackboneBlock(nn.Module):
    """Self-attention -> reference attention -> audio attention -> feed-forward, on tokens (b * f, h * w, width)."""

    def __init__(self, config: UNetConfig, width: int, site: str) -> None:
        super().__init__()
        self.site = site
        self.reference_weight, self.audio_weight = config.reference_weight, config.audio_weight
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, config.heads)
        self.norm1_5 = nn.LayerNorm(width)
        self.attn1_5 = Attention(width, config.heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn2 = Attention(width, config.heads, config.audio_dim)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)
        self.attn2.silence()

    def reads(self, context: CallContext, pixels: int) -> tuple[SiteContext]:
        return (context.at(self.site, pixels),)

    def forward(self, tokens: Tensor, given: SiteContext) -> Tensor:
        tokens = tokens + self.attn1(self.norm1(tokens))
        tokens = tokens + self._reference(tokens, given) * self.reference_weight
        if given.audio is not None:
            silent = given.rows_silent
            heard = self.attn2.hear(self.norm2(tokens[silent:]), given.audio, silent)
            tokens = tokens + given.emphasise(heard * self.audio_weight)
        return tokens + self.ff(self.norm3(tokens))

    def _reference(self, tokens: Tensor, given: SiteContext) -> Tensor:
        """Features of zero have keys and values of zero, so that what is left is to_out.bias: that is unconditional."""
        if given.keys is None or given.values is None:
            return self.attn1_5.out_bias
        without = given.rows_without
        seen = self.norm1_5(tokens[without:])
        attended = self.attn1_5.over_shared(seen, given.keys, given.values)
        if without == 0:
            return attended
        return torch.cat([self.attn1_5.out_bias.expand_as(tokens[:without]), attended])

    def project_reference(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (b, k, c) of ReferenceNet's features (b, k, c) at this site."""
        return self.attn1_5.project(features)


class ConstantAttention(nn.Module):
    """Cross-attention to one token of zeros: its value is zero, so all that it adds is its output's bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_out = nn.ModuleList([_Bias(width)])

    def forward(self) -> Tensor:
        return cast(Tensor, self.to_out[0].bias)


class _Bias(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(nn.Linear(1, width).bias.detach())


class ReferenceBlock(nn.Module):
    """Self-attention, the features for the backbone, then (unless nothing reads on) a constant and feed-forward."""

    def __init__(self, config: UNetConfig, width: int, site: str) -> None:
        super().__init__()
        self.site = site
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, config.heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn2: ConstantAttention | None = None
        if config.reference_cross_attention == "zero_token":
            self.attn2 = ConstantAttention(width)
        self.norm3: nn.Module = nn.LayerNorm(width)
        self.ff: nn.Module = FeedForward(width)

    def reads(self, sink: FeatureSink, pixels: int) -> tuple[bool]:
        return (sink.wants_more_after(self.site),)

    def forward(self, tokens: Tensor, more: bool) -> tuple[Tensor, Tensor]:
        """tokens (r, s, c) -> what goes on, which nothing reads unless there is `more`, and the features."""
        tokens = tokens + self.attn1(self.norm1(tokens))
        features = self.norm2(tokens)
        if not more:
            return tokens, features
        if self.attn2 is not None:
            tokens = tokens + self.attn2()
        return tokens + self.ff(self.norm3(tokens)), features

    def drop_tail(self) -> None:
        """Remove what stands after the features, for the site whose output nothing reads."""
        del self.norm3, self.ff
        self.attn2 = None


class Shell(nn.Module):
    """SD1.5's shell around one block: GroupNorm, 1x1 projection in, block over the pixels, 1x1 out, residual.

    Inside it is `inner` wide, by default as outside. `forward` is what may be compiled (see `compiled`): it takes what
    the block reads, and no context.
    """

    def __init__(self, config: UNetConfig, width: int, block: nn.Module, *, inner: int | None = None) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.norm_groups, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, inner or width, 1)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out: nn.Conv2d | None = nn.Conv2d(inner or width, width, 1)

    def read(self, hidden: Tensor, context: Any) -> tuple[Any, ...]:
        """What the block reads of the context."""
        return cast(SiteBlock, self.transformer_blocks[0]).reads(context, hidden.shape[2] * hidden.shape[3])

    def enter(self, hidden: Tensor) -> Tensor:
        """(r, c, h, w) -> the block's tokens (r, h * w, inner)."""
        tokens = self.norm(hidden).permute(0, 2, 3, 1).flatten(1, 2)
        return pointwise(self.proj_in, tokens)

    def leave(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """What the block made of the tokens, added to what came in."""
        if self.proj_out is None:
            return hidden
        out = pointwise(self.proj_out, tokens).unflatten(1, hidden.shape[2:])
        return hidden + out.permute(0, 3, 1, 2)


class SpatialTransformer(Shell):
    """The backbone's."""

    def at_site(self, hidden: Tensor, context: CallContext) -> Tensor:
        return cast(Tensor, self(hidden, *self.read(hidden, context)))

    def forward(self, hidden: Tensor, *given: Any) -> Tensor:
        """hidden (r, c, h, w) -> the same shape."""
        return self.leave(hidden, self.transformer_blocks[0](self.enter(hidden), *given))


class ReferenceTransformer(Shell):
    """ReferenceNet's, whose block also makes features (r, h * w, inner), which the sink takes."""

    def at_site(self, hidden: Tensor, sink: FeatureSink) -> Tensor:
        hidden, features = self(hidden, *self.read(hidden, sink))
        sink.take_attention(cast(str, self.transformer_blocks[0].site), features)
        return hidden

    def forward(self, hidden: Tensor, *given: Any) -> tuple[Tensor, Tensor]:
        """hidden (r, c, h, w) -> the same shape, and the features."""
        tokens, features = self.transformer_blocks[0](self.enter(hidden), *given)
        return self.leave(hidden, tokens), features

    def drop_tail(self) -> None:
        """Remove what stands after the features, for the site whose output nothing reads."""
        self.proj_out = None
        self.transformer_blocks[0].drop_tail()  # type: ignore[operator]


def pointwise(conv: nn.Conv2d, tokens: Tensor) -> Tensor:
    """A 1x1 convolution over tokens (r, s, c): the same numbers, without turning the picture around."""
    return functional.linear(tokens, conv.weight.flatten(1), conv.bias)
