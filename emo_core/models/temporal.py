"""Temporal modules (paper 3.2, "Temporal Modules" and "Speed Layers"), in AnimateDiff's form and names.

In: hidden states of f frames, ReferenceNet's maps of the n motion frames at the same place, speed tokens.
Self-attention runs along n + f frames with the motion frames first; only the f frames come out. Inside, after
self-attention, cross-attention to the speed tokens, silent at the start.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from ..config import MotionModuleConfig, UNetConfig
from ..errors import EmoInputError
from .attention import Attention, attend_over_frames
from .context import CallContext
from .feed_forward import FeedForward


class PositionalEncoding(nn.Module):
    """Sines and cosines of the frame's number; stored, because AnimateDiff's files store them."""

    def __init__(self, width: int, max_length: int) -> None:
        super().__init__()
        position = torch.arange(max_length).unsqueeze(1)
        rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        pe = torch.zeros(1, max_length, width)
        pe[0, :, 0::2], pe[0, :, 1::2] = torch.sin(position * rate), torch.cos(position * rate)
        self.register_buffer("pe", pe)
        self.pe: Tensor

    def forward(self, first: int, last: int) -> Tensor:
        """Encodings of the frames first..last-1, (last - first, 1, c), to be added to (b, frames, h * w, c)."""
        return self.pe[0, first:last, None]


class FrameAttention(Attention):
    """Self-attention along the frames, with positions."""

    def __init__(self, width: int, motion: MotionModuleConfig) -> None:
        super().__init__(width, motion.heads)
        self.pos_encoder = PositionalEncoding(width, motion.max_length)

    def along(self, tokens: Tensor, first: int) -> Tensor:
        """tokens (b, n + f, s, c); only the frames from `first` on ask, all answer: (b, n + f - first, s, c)."""
        tokens = tokens + self.pos_encoder(0, tokens.shape[1])
        query = self.to_q(tokens[:, first:])
        return self.to_out[0](attend_over_frames(query, self.to_k(tokens), self.to_v(tokens), self.heads))


class SpeedAttention(Attention):
    """Cross-attention from every pixel of every frame to the clip's f speed tokens. No bias: no speed adds nothing."""

    def along(self, tokens: Tensor, speed: Tensor, positions: Tensor) -> Tensor:
        """tokens (b, f, s, c), speed tokens (b, f, d), positions (f, 1, c), by which a frame finds its own token."""
        key, value = self.project(speed)
        return self.over_shared(tokens + positions, key + positions.squeeze(1), value)


class TemporalBlock(nn.Module):
    """Self-attentions along the frames, speed attention, feed-forward; each with its LayerNorm and residual."""

    def __init__(self, config: UNetConfig, motion: MotionModuleConfig, width: int) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(FrameAttention(width, motion) for _ in range(motion.attention_blocks))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(motion.attention_blocks))
        self.ff = FeedForward(width)
        self.ff_norm = nn.LayerNorm(width)
        if config.speed is not None:
            self.speed_norm = nn.LayerNorm(width)
            self.speed_attention = SpeedAttention(width, motion.heads, config.speed.width, out_bias=False)
            self.speed_attention.silence()

    def forward(self, tokens: Tensor, n_motion_frames: int, speed: Tensor | None) -> Tensor:
        """tokens (b, n + f, s, c), speed tokens (b, f, d) or None; gives (b, f, s, c)."""
        last = len(self.attention_blocks) - 1
        for i, (attention, norm) in enumerate(zip(self.attention_blocks, self.norms, strict=True)):
            # After the last attention nobody reads the motion frames any more: they ask nothing there.
            first = n_motion_frames if i == last else 0
            tokens = tokens[:, first:] + attention.along(norm(tokens), first)  # type: ignore[operator]
        if speed is not None:
            encoder = self.attention_blocks[last].pos_encoder
            positions = encoder(n_motion_frames, n_motion_frames + tokens.shape[1])  # type: ignore[operator]
            tokens = tokens + self.speed_attention.along(self.speed_norm(tokens), speed, positions)
        return tokens + self.ff(self.ff_norm(tokens))


class TemporalTransformer(nn.Module):
    """AnimateDiff's shell: GroupNorm per frame, projection in, blocks along the frames, projection out."""

    def __init__(self, config: UNetConfig, motion: MotionModuleConfig, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.norm_groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(config, motion, width)])
        self.proj_out = nn.Linear(width, width)
        nn.init.zeros_(self.proj_out.weight)  # as AnimateDiff: a new temporal module changes nothing
        nn.init.zeros_(self.proj_out.bias)

    def embed(self, maps: Tensor) -> Tensor:
        """(b, f, c, h, w) -> tokens (b, f, h * w, c)."""
        batch, frames, width = maps.shape[:3]
        normed = self.norm(maps.flatten(0, 1))
        return self.proj_in(normed.permute(0, 2, 3, 1).reshape(batch, frames, -1, width))


class TemporalModule(nn.Module):
    """One motion module. Parameter names are AnimateDiff's, `temporal_transformer.…`. `forward` is what may be compiled
    (see `compiled`)."""

    def __init__(self, config: UNetConfig, motion: MotionModuleConfig, width: int, *, site: str) -> None:
        super().__init__()
        self.site, self.max_length = site, motion.max_length
        self.temporal_transformer = TemporalTransformer(config, motion, width)

    def at_site(self, hidden: Tensor, context: CallContext) -> Tensor:
        if not context.temporal:
            return hidden
        motion = context.reference.motion.get(self.site)
        self._check(context.frames + (0 if motion is None else motion.shape[1]))
        return cast(Tensor, self(hidden, context.frames, motion, context.speed))

    def forward(self, hidden: Tensor, frames: int, motion: Tensor | None, speed: Tensor | None) -> Tensor:
        """hidden (b * f, c, h, w), maps of motion frames (1 or b, n, c, h, w), speed tokens (b, f, d) -> as hidden."""
        rows, width, height, breadth = hidden.shape
        module = self.temporal_transformer
        tokens = module.embed(hidden.unflatten(0, (-1, frames)))
        n_motion_frames = 0
        if motion is not None:
            n_motion_frames = motion.shape[1]
            before = module.embed(motion).expand(tokens.shape[0], -1, -1, -1)
            tokens = torch.cat([before, tokens], dim=1)
        for block in module.transformer_blocks:
            tokens = block(tokens, n_motion_frames, speed)
        out = module.proj_out(tokens).view(rows, height, breadth, width)
        return hidden + out.permute(0, 3, 1, 2)

    def _check(self, length: int) -> None:
        if length > self.max_length:
            allowed = f"at most {self.max_length} with the motion frames"
            raise EmoInputError("frames per clip", f"{length}", allowed, "Make the clips shorter.")
