"""Speed layers (paper 3.2, equations of "Speed Layers"): head rotation speed per frame in, one token per frame out.

A speed w is compared with buckets, s_i = tanh((w - c_i) / r_i * 3); the vectors of 2m + 1 frames around each frame go
through an MLP. The cross-attention that reads the tokens lives in the temporal modules.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import SpeedConfig


class SpeedLayers(nn.Module):
    """Buckets and MLP."""

    def __init__(self, config: SpeedConfig) -> None:
        super().__init__()
        self.config = config
        inputs = len(config.centres) * (2 * config.window + 1)
        self.mlp = nn.Sequential(nn.Linear(inputs, config.hidden), nn.SiLU(), nn.Linear(config.hidden, config.width))

    def buckets(self, speed: Tensor) -> Tensor:
        """speed (b, f) in degrees per frame -> (b, f, d) in -1..1."""
        away = torch.stack([speed - centre for centre in self.config.centres], dim=-1)  # no copy to a card in it
        return torch.tanh(away / self.config.radius * 3)

    def forward(self, speed: Tensor) -> Tensor:
        """speed (b, f) in degrees per frame -> tokens (b, f, l). The edge frames are repeated outwards."""
        vectors = self.buckets(speed.float())
        reach = torch.arange(-self.config.window, self.config.window + 1, device=speed.device)
        frames = torch.arange(speed.shape[1], device=speed.device)
        around = (frames[:, None] + reach).clamp(0, speed.shape[1] - 1)
        return self.mlp(vectors[:, around].flatten(2).to(next(self.parameters()).dtype))
