"""Face locator (paper 3.2, "Face Locator"): the clip's face region in, a feature added to the noisy latent's out.

The paper calls it lightweight convolutions and publishes no table; these widths and names are Hallo's, EchoMimic's and
V-Express's. The last convolution starts at zero.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..config import FaceLocatorConfig


class FaceLocator(nn.Module):
    """3x3 convolutions, each pair keeping and then changing the width at half the size; SiLU after each."""

    def __init__(self, config: FaceLocatorConfig, out_channels: int) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for before, after in itertools.pairwise(channels):
            self.blocks.append(nn.Conv2d(before, before, 3, padding=1))
            self.blocks.append(nn.Conv2d(before, after, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(channels[-1], out_channels, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, mask: Tensor) -> Tensor:
        """mask (b, 1 or f, c, H, W) in 0..1 -> (b, 1 or f, C, h, w). A mask of ones is no guidance: exactly zero."""
        hidden = functional.silu(self.conv_in(mask.flatten(0, 1)))
        for block in self.blocks:
            hidden = functional.silu(block(hidden))
        feature = self.conv_out(hidden).unflatten(0, mask.shape[:2])
        if not self.config.white_is_none:
            return feature
        white = (mask >= 1).flatten(2).all(dim=2)
        return torch.where(white[:, :, None, None, None], feature.new_zeros(()), feature)
