"""A patch loss: squares around mouths and eyes are told apart by a small critic that learns beside the decoder.

In: decoded and true pictures (b, 3, H, W) in -1..1 and where the patches lie. Out: what the decoder is to lower (not to
be told apart, and to give the critic's layers what the true patch gives them), and what the critic is to lower (least
squares: Mao et al. 2017). No weights from elsewhere; the critic is thrown away after training.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional


class PatchCritic(nn.Module):
    """Patches (n, 3, s, s) -> what its layers see of them, the last of which is the verdict: 1 true, 0 decoded."""

    WIDTHS: ClassVar[tuple[int, ...]] = (3, 32, 64, 96)

    def __init__(self) -> None:
        super().__init__()
        pairs = pairwise(self.WIDTHS)
        self.layers = nn.ModuleList(nn.Conv2d(low, high, 4, stride=2, padding=1) for low, high in pairs)
        self.verdict = nn.Conv2d(self.WIDTHS[-1], 1, 3, padding=1)

    def forward(self, patches: Tensor) -> list[Tensor]:
        seen = [patches]
        for layer in self.layers:
            seen.append(functional.leaky_relu(layer(seen[-1]), 0.2))
        return [*seen[1:], self.verdict(seen[-1])]


class PatchLoss(nn.Module):
    """Both sides of the game, so that one optimizer trains decoder and critic: each side's loss reaches its own
    weights alone."""

    FEATURES = 10.0  # weight of the layers' differences, as shares of what they see

    def __init__(self) -> None:
        super().__init__()
        self.critic = PatchCritic()

    @staticmethod
    def side(size: int) -> int:
        """Pixels along a patch in pictures of `size`: a quarter, which a mouth fills."""
        return size // 4

    def forward(self, made: Tensor, true: Tensor, corners: Tensor) -> dict[str, Tensor]:
        """`corners` (b, m, 2): left and top of the patches. -> {decoder, critic}, each to be lowered."""
        side = self.side(made.shape[-1])
        patches, wanted = (cut_patches(pictures, corners, side) for pictures in (made, true))
        fixed = {name: value.detach() for name, value in self.critic.named_parameters()}
        *layers, verdict = functional_call(self.critic, fixed, (patches,))
        with torch.no_grad():
            *true_layers, _ = self.critic(wanted)
        likeness = [
            (one.float() - other.float()).abs().mean() / other.float().abs().mean().clamp(min=1e-3)
            for one, other in zip(layers, true_layers, strict=True)
        ]
        verdicts = self.critic(torch.cat([patches.detach(), wanted]))[-1].float().chunk(2)
        return {
            "decoder": (verdict.float() - 1).square().mean() + self.FEATURES * torch.stack(likeness).mean(),
            "critic": verdicts[0].square().mean() + (verdicts[1] - 1).square().mean(),
        }


def cut_patches(pictures: Tensor, corners: Tensor, side: int) -> Tensor:
    """Squares of pictures (b, c, H, W) at corners (b, m, 2; left and top) -> (b * m, c, side, side)."""
    place = torch.arange(side, device=pictures.device)
    across, down = (corners[..., axis, None] + place for axis in (0, 1))  # (b, m, side)
    row = torch.arange(len(pictures), device=pictures.device).view(-1, 1, 1, 1)
    cut = pictures.permute(0, 2, 3, 1)[row, down[..., :, None], across[..., None, :]]
    return cut.flatten(0, 1).permute(0, 3, 1, 2)
