"""The one door to attention: queries, keys and values in, the attended values out. Every attention of the network
(self, reference, audio, temporal, speed; paper 3.2) goes through `attend`.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

_MAX_CUDA_HEADS = 65535  # y and z of a CUDA grid: more heads than this at once do not launch


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for queries (b, q, c), keys and values (b, k, c), c = heads * d; gives (b, q, c)."""
    head_dim = query.shape[-1] // heads
    rows = (query, key, value)
    q, k, v = (x.view(x.shape[0], x.shape[1], heads, head_dim).transpose(1, 2) for x in rows)
    return _attend(q, k, v).transpose(1, 2).reshape(query.shape)


def attend_over_frames(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """The same along the frames, each pixel by itself: queries (b, q, s, c), keys, values (b, f, s, c); (b, q, s, c).

    The pixels stand as further heads, (b, s * heads, frames, d), which is a view: nothing is copied.
    """
    batch, frames, pixels, width = query.shape
    folded = pixels * heads
    rows = (query, key, value)
    q, k, v = (x.reshape(batch, x.shape[1], folded, width // heads).transpose(1, 2) for x in rows)
    if query.is_cuda and folded > _MAX_CUDA_HEADS:
        parts = zip(*(x.split(_MAX_CUDA_HEADS, dim=1) for x in (q, k, v)), strict=True)
        out = torch.cat([_attend(*part) for part in parts], dim=1)
    else:
        out = _attend(q, k, v)
    return out.transpose(1, 2).reshape(batch, frames, pixels, width)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention on (b, heads, tokens, d). On a CPU always in fp32: its bf16 kernel is slower, twice to
    eight times so in the backward pass (torch 2.13, Zen 5, heads of 16 to 48)."""
    if query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", enabled=False):
            out = functional.scaled_dot_product_attention(query.float(), key.float(), value.float())
        return out.to(query.dtype)
    return functional.scaled_dot_product_attention(query, key, value)


class Attention(nn.Module):
    """Projections around `attend`, under diffusers' names (to_q, to_k, to_v, to_out.0)."""

    def __init__(self, width: int, heads: int, context_width: int | None = None, *, out_bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context_width or width, width, bias=False)
        self.to_v = nn.Linear(context_width or width, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width, bias=out_bias)])

    def project(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (b, k, width) of a context (b, k, d)."""
        return self.to_k(context), self.to_v(context)

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        """tokens (b, q, width) attend to the context (b, k, d), or to themselves; (b, q, width)."""
        key, value = self.project(tokens if context is None else context)
        return self.to_out[0](attend(self.to_q(tokens), key, value, self.heads))

    def over_shared(self, tokens: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """tokens (r, ..., width) against keys and values (b, k, width), each shared by r / b successive rows of tokens.

        The rows of one key stand one after another as one long query, so that keys are never repeated.
        """
        query = self.to_q(tokens).reshape(key.shape[0], -1, tokens.shape[-1])
        return self.to_out[0](attend(query, key, value, self.heads).view(tokens.shape))

    def hear(self, tokens: Tensor, audio: Tensor, rows_silent: int) -> Tensor:
        """tokens (r - rows_silent, q, width) of the rows that hear something attend to audio tokens (r, k, d), of which
        the first rows_silent rows are zeros; (r, q, width).

        Zeros have keys and values of zero (no bias), which leave the output's bias: exact, and nothing to compute.
        """
        silence = self.out_bias.expand(rows_silent, tokens.shape[1], -1)
        if rows_silent == len(audio):
            return silence
        heard = self(tokens, audio[rows_silent:])
        return heard if rows_silent == 0 else torch.cat([silence.to(heard.dtype), heard])

    @property
    def out_bias(self) -> Tensor:
        """What is left of the attention when all values are zero."""
        return cast(Tensor, self.to_out[0].bias)

    def silence(self) -> None:
        """Zero the output projection: the attention then adds nothing, and training starts from there."""
        for parameter in self.to_out[0].parameters():
            nn.init.zeros_(parameter)
