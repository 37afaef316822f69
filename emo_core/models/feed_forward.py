"""The feed-forward of every transformer block: GEGLU, then linear, under diffusers' names (net.0.proj, net.2).

Value and gate are two products with the two halves of one weight. Halves of one product would not be contiguous, and on
those a GPU takes several times as long for gelu and multiplication.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class GEGLU(nn.Module):
    """value * gelu(gate), both linear in what comes in; (..., width) -> (..., inner)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        if type(self.proj) is not nn.Linear:  # one whose weight is not a plain matrix, see `float8`
            value, gate = self.proj(x).chunk(2, dim=-1)
            return value * functional.gelu(gate)
        (of_value, of_gate), (to_value, to_gate) = self.proj.weight.chunk(2), self.proj.bias.chunk(2)
        return functional.linear(x, of_value, to_value) * functional.gelu(functional.linear(x, of_gate, to_gate))


class FeedForward(nn.Module):
    """GEGLU of four times the width, and back; (..., width) -> the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # Identity: where diffusers has a dropout of 0.
        self.net = nn.ModuleList([GEGLU(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](self.net[0](x))
