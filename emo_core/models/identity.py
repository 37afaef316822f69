"""Who it is: a face embedding in, tokens for cross-attention out (Hallo's `imageproj`).

Also which tokens the rows of ReferenceNet see under guidance. Hallo's weights are run with the two halves' tokens laid
out in turn, so that a motion frame may see the other half's; `IdentityConfig.halves` keeps or corrects that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import IdentityConfig


class IdentityProjection(nn.Module):
    """One linear layer and a LayerNorm."""

    def __init__(self, config: IdentityConfig) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Linear(config.embedding, config.tokens * config.width)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, embedding: Tensor) -> Tensor:
        """embedding (b, e), ArcFace's as it comes (not normalised; zeros: nobody) -> tokens (b, k, d)."""
        return self.norm(self.proj(embedding).view(-1, self.config.tokens, self.config.width))

    def nobody(self) -> Tensor:
        """Tokens (1, k, d) of an embedding of zeros: what the unconditional row sees."""
        return self(self.norm.weight.new_zeros(1, self.config.embedding))  # proj may be stored in float8


def tokens_of_rows(identity: Tensor, nobody: Tensor, rows: int, *, config: IdentityConfig) -> tuple[Tensor, Tensor]:
    """Tokens (1, rows, k, d) for the rows [portrait, motion frames] of the unconditional and of the conditional half.

    `identity` and `nobody` (1, k, d). Interleaved as Hallo does it: row i of the 2 * rows sees nobody's tokens if i is
    even, the face's if it is odd.
    """
    if config.halves == "matched":
        return nobody.unsqueeze(1).expand(1, rows, -1, -1), identity.unsqueeze(1).expand(1, rows, -1, -1)
    laid_out = torch.cat([nobody, identity]).repeat(rows, 1, 1)
    return laid_out[:rows].unsqueeze(0), laid_out[rows:].unsqueeze(0)
