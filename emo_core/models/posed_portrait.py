"""The portrait's latent with its head turned a little: in, the latent and a pose for every frame; out, latents.

Not in the paper: EMO's network finds the head's movement in the noise. A small one does not, and paints every part of
the face as if the head were elsewhere; turned a few degrees, a latent is a polynomial of the angles to within a fifth
(measured on emo-mini's latents when they had eight channels: degree 1 leaves 55 % of the difference, 2 leaves 23 %, 3
leaves 15 %). What the powers are multiplied by is read off the portrait alone. The rest, and all that speaks, is the
backbone's (`diffusion.space`).
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..config import PosedPortraitConfig

UNIT_DEG = 5.0  # an angle of 1 in the polynomial


class PosedPortrait(nn.Module):
    """A polynomial of pitch, yaw and roll without a constant, so that no turn leaves the latent as it is."""

    def __init__(self, config: PosedPortraitConfig, channels: int) -> None:
        super().__init__()
        self.terms = [
            term for degree in range(1, config.degree + 1) for term in combinations_with_replacement(range(3), degree)
        ]
        width = config.width
        self.conv_in = nn.Conv2d(channels + 2, width, 3, padding=1)  # + where a cell lies
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(8, width),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for _ in range(config.blocks)
        )
        self.conv_out = nn.Conv2d(width, channels * len(self.terms), 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        assert self.conv_out.bias is not None
        nn.init.zeros_(self.conv_out.bias)

    def forward(self, portrait: Tensor, pose: Tensor) -> Tensor:
        """portrait (b, c, h, w), pose (b, f, 3) pitch, yaw, roll in degrees away from it -> (b, f, c, h, w)."""
        maps = self.coefficients(portrait)
        powers = torch.stack([pose[..., list(term)].div(UNIT_DEG).prod(-1) for term in self.terms], dim=-1)
        return portrait.unsqueeze(1) + torch.einsum("bft,btchw->bfchw", powers.to(maps.dtype), maps)

    def coefficients(self, portrait: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, t, c, h, w): what each power of the pose adds."""
        height, width = portrait.shape[-2:]
        down = torch.linspace(-1, 1, height, device=portrait.device, dtype=portrait.dtype)
        across = torch.linspace(-1, 1, width, device=portrait.device, dtype=portrait.dtype)
        place = torch.stack([down[:, None].expand(height, width), across.expand(height, width)])
        hidden = self.conv_in(torch.cat([portrait, place.expand(len(portrait), -1, -1, -1)], dim=1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.conv_out(functional.silu(hidden)).unflatten(1, (len(self.terms), portrait.shape[1]))
