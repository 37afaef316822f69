"""From windows of audio features to the tokens that audio attention reads (paper 3.2, "Audio Layers").

In: (b, f, w, l, d): around each video frame w encoder frames of l layers. Out: (b, f, k, audio_dim). The paper
publishes no form. `mlp` is Hallo's (flatten, three layers, LayerNorm), `resampler` V-Express's (a Perceiver whose k
learned queries read the window); the parameter names are theirs. `none`: the window's vectors are the tokens
(EchoMimic).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..config import AudioProjectionConfig
from .attention import attend


class PerceiverAttention(nn.Module):
    """Queries read the window and themselves."""

    def __init__(self, config: AudioProjectionConfig) -> None:
        super().__init__()
        self.heads = config.resampler_heads
        width, inner = config.resampler_dim, config.dim_head * config.resampler_heads
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, inner * 2, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, window: Tensor, queries: Tensor) -> Tensor:
        """window (r, w, d), queries (r, k, d) -> (r, k, d)."""
        queries = self.norm2(queries)
        key, value = self.to_kv(torch.cat([self.norm1(window), queries], dim=1)).chunk(2, dim=-1)
        return self.to_out(attend(self.to_q(queries), key, value, self.heads))


class AudioProjection(nn.Module):
    """`layers` and `width` are the encoder's, `window_frames` its frames per window. See `window_frames`."""

    def __init__(
        self, config: AudioProjectionConfig, *, layers: int, width: int, window_frames: int, audio_dim: int
    ) -> None:
        super().__init__()
        self.config, self.audio_dim = config, audio_dim
        length = window_frames * layers
        if config.kind == "mlp":
            self._build_mlp(length * width)
        elif config.kind == "resampler":
            self._build_resampler(length, width)

    def forward(self, windows: Tensor) -> Tensor:
        """windows (b, f, w, l, d) -> tokens (b, f, k, audio_dim)."""
        rows = windows.flatten(0, 1).flatten(1, 2)
        if self.config.kind == "none":
            tokens = rows
        else:
            tokens = self._mlp(rows) if self.config.kind == "mlp" else self._resample(rows)
        return tokens.unflatten(0, windows.shape[:2])

    def _build_mlp(self, inputs: int) -> None:
        config = self.config
        self.proj1 = nn.Linear(inputs, config.hidden)
        self.proj2 = nn.Linear(config.hidden, config.hidden)
        self.proj3 = nn.Linear(config.hidden, config.tokens * self.audio_dim)
        self.norm = nn.LayerNorm(self.audio_dim)

    def _mlp(self, rows: Tensor) -> Tensor:
        """The whole window as one vector: (r, w * l, d) -> (r, k, audio_dim)."""
        hidden = functional.relu(self.proj1(rows.flatten(1)))
        hidden = functional.relu(self.proj2(hidden))
        return self.norm(self.proj3(hidden).view(-1, self.config.tokens, self.audio_dim))

    def _build_resampler(self, length: int, width: int) -> None:
        config, dim = self.config, self.config.resampler_dim
        self.pos_emb = nn.Embedding(length, width)
        self.latents = nn.Parameter(torch.randn(1, config.tokens, dim) / dim**0.5)
        self.proj_in = nn.Linear(width, dim)
        self.proj_out = nn.Linear(dim, self.audio_dim)
        self.norm_out = nn.LayerNorm(self.audio_dim)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(config), _feed_forward(dim, dim * config.ff_mult)])
            for _ in range(config.depth)
        )

    def _resample(self, rows: Tensor) -> Tensor:
        """The window as w * l vectors: (r, w * l, d) -> (r, k, audio_dim)."""
        window = self.proj_in(rows + self.pos_emb.weight)
        queries = self.latents.expand(rows.shape[0], -1, -1)
        for layer in self.layers:
            attention, feed_forward = cast(nn.ModuleList, layer)
            queries = queries + attention(window, queries)
            queries = queries + feed_forward(queries)
        return self.norm_out(self.proj_out(queries))


def window_frames(config: AudioProjectionConfig) -> int:
    """Encoder frames in a window of 2m + 1 video frames: one per video frame, two for V-Express's resampler."""
    return (2 * config.window + 1) * (2 if config.kind == "resampler" else 1)


def _feed_forward(width: int, inner: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, inner, bias=False), nn.GELU(), nn.Linear(inner, width, bias=False)
    )
