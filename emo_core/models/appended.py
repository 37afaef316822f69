"""Transformer blocks in which the portrait stands beside the frame: Hallo's and EchoMimic's (`reference_attention`).

ReferenceNet hands on what its self-attention is given (normed, not yet attended); the backbone's self-attention reads
it as further keys and values beside its own. Then comes cross-attention to the tokens of a face (Hallo) or of the sound
(EchoMimic), in SD1.5's text attention's place, and feed-forward. Names and order are SD1.5's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import UNetConfig
from .attention import Attention, attend
from .context import CallContext, SiteContext
from .feed_forward import FeedForward
from .transformer import FeatureSink


class AppendedBlock(nn.Module):
    """The backbone's: self-attention over frame and portrait -> cross-attention -> feed-forward, on (b * f, s, c)."""

    def __init__(self, config: UNetConfig, width: int, site: str) -> None:
        super().__init__()
        self.site, self.reads_identity = site, config.identity is not None
        self.audio_weight = config.audio_weight
        context_width = config.audio_dim if config.identity is None else config.identity.width
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, config.heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn2 = Attention(width, config.heads, context_width)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def reads(self, context: CallContext, pixels: int) -> tuple[SiteContext]:
        return (context.at(self.site, pixels),)

    def forward(self, tokens: Tensor, given: SiteContext) -> Tensor:
        tokens = tokens + self._attend_with_portrait(self.norm1(tokens), given)
        if self.reads_identity and given.identity is not None:
            face = self.attn2.project(given.identity)
            tokens = tokens + self.attn2.over_shared(self.norm2(tokens), *face)
        elif not self.reads_identity and given.audio is not None:
            silent = given.rows_silent
            heard = self.attn2.hear(self.norm2(tokens[silent:]), given.audio, silent)
            tokens = tokens + given.emphasise(heard * self.audio_weight)
        return tokens + self.ff(self.norm3(tokens))

    def project_reference(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (b, k, c) of ReferenceNet's features (b, k, c) at this site."""
        return self.attn1.project(features)

    def _attend_with_portrait(self, normed: Tensor, given: SiteContext) -> Tensor:
        """The first `given.rows_without` rows attend to themselves alone, and all where nothing is kept."""
        query, (key, value) = self.attn1.to_q(normed), self.attn1.project(normed)
        rows = len(normed)
        without = rows if given.keys is None else given.rows_without
        parts = []
        if without > 0:
            parts.append(attend(query[:without], key[:without], value[:without], self.attn1.heads))
        if given.keys is not None and given.values is not None and without < rows:
            kept = (_for_rows(x, without, rows, in_turn=given.in_turn) for x in (given.keys, given.values))
            key, value = (torch.cat([x[without:], k], dim=1) for x, k in zip((key, value), kept, strict=True))
            parts.append(attend(query[without:], key, value, self.attn1.heads))
        return self.attn1.to_out[0](torch.cat(parts) if len(parts) > 1 else parts[0])


def _for_rows(kept: Tensor, first: int, last: int, *, in_turn: bool) -> Tensor:
    """Of kept rows (n, k, c) the one that each of the rows first..last-1 reads, (last - first, k, c): row i % n in
    turn, or each a run of its own. By views: a list of numbers would have to come to the card, at every site and step.
    """
    count, rows = len(kept), last - first
    if not in_turn:
        return kept.unsqueeze(1).expand(-1, rows // count, -1, -1).flatten(0, 1)
    start = first % count
    turned = torch.cat([kept[start:], kept[:start]]) if start else kept
    return turned.unsqueeze(0).expand(-(-rows // count), -1, -1, -1).flatten(0, 1)[:rows]


class AppendedReferenceBlock(nn.Module):
    """ReferenceNet's: the features for the backbone, then (unless nothing reads on) the whole block."""

    def __init__(self, config: UNetConfig, width: int, site: str) -> None:
        super().__init__()
        self.site, self.has_cross_attention = site, config.identity is not None
        self.norm1 = nn.LayerNorm(width)
        self.attn1: nn.Module = Attention(width, config.heads)
        if config.identity is not None:
            self.norm2: nn.Module = nn.LayerNorm(width)
            self.attn2: nn.Module = Attention(width, config.heads, config.identity.width)
        self.norm3: nn.Module = nn.LayerNorm(width)
        self.ff: nn.Module = FeedForward(width)

    def reads(self, sink: FeatureSink, pixels: int) -> tuple[Tensor | None, bool]:
        return sink.identity, sink.wants_more_after(self.site)

    def forward(self, tokens: Tensor, identity: Tensor | None, more: bool) -> tuple[Tensor, Tensor]:
        """tokens (r, s, c), identity (r, k, d) -> what goes on, which nothing reads unless there is `more`, and the
        features."""
        normed = self.norm1(tokens)
        if not more:
            return tokens, normed
        tokens = tokens + self.attn1(normed)
        if self.has_cross_attention and identity is not None:
            tokens = tokens + self.attn2(self.norm2(tokens), identity)
        return tokens + self.ff(self.norm3(tokens)), normed

    def drop_tail(self) -> None:
        """Remove what stands after the features, for the site whose output nothing reads."""
        del self.attn1, self.norm3, self.ff
        if self.has_cross_attention:
            del self.norm2, self.attn2
