"""An autoencoder whose decoder is given the portrait: in, latents and the portrait; out, pictures of its size.

Not in the paper, whose VAE is SD's. What is known of the portrait is carried by a flow, found coarse to fine; what is
new (the inside of a mouth, closed lids, what a turn uncovers) is painted; a mask decides which: `kept * carried +
(1 - kept) * painted`. The convolutions see pictures of one size; flow and mask are enlarged to the portrait's own, so
that a video has its portrait's pixels at any size. No layer normalises: values stay inside float16's range, and a
change in one corner moves nothing in another.

Where a latent is the portrait's own, and all about it, the flow is exactly 0 and the mask exactly 1: a face that
neither turns nor speaks is the photograph, and so is a background that holds still.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..config import VAEConfig
from .flow import read_along, read_finely, resized

REACH = 0.1  # of half a picture: what a convolution's 1 adds to the flow
KEPT = 1.0  # what the mask starts from, before the sigmoid: .73 of the portrait
NEAR = 0.01  # mean square over a cell's channels (of deviation 1) at which half of flow and painting counts


@dataclass(frozen=True)
class Draft:
    """What the decoder says of a frame: `flow` (b, 2, s/4, s/4), or s/2, to where the portrait shows it
    (models/flow.py), how much of that is `kept` (b, 1, s, s) in 0..1, and what is `painted` (b, 3, s, s) in its
    place."""

    flow: Tensor
    kept: Tensor
    painted: Tensor

    def over(self, picture: Tensor) -> Tensor:
        """The frame, of the size and type of the portrait's `picture` (b, 3, H, W); float32 inside."""
        size = picture.shape[-2:]
        carried = read_finely(picture.float(), resized(self.flow, *size))
        kept, painted = resized(self.kept.float(), *size), resized(self.painted.float(), *size)
        return (kept * carried + (1 - kept) * painted).to(picture.dtype)


class ReferencedAutoencoder(nn.Module):
    """Pictures of `config.size` to latents 16 times smaller; these and a portrait to a Draft."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        _, middle, coarse = config.widths
        channels = config.latent_channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(8),
            nn.Conv2d(3 * 64, middle, 3, padding=1),
            _Residual(middle),
            _Residual(middle),
            _halved(middle, coarse),
            _Residual(coarse),
            _Residual(coarse),
            _louder(nn.Conv2d(coarse, channels, 3, padding=1)),
        )
        self.reader = _Reader(config.widths, config.finest)
        self.decoder = _Decoder(config.widths, config.finest, channels)

    def encode(self, pictures: Tensor) -> Tensor:
        """(b, 3, s, s) -> (b, c, s/16, s/16)."""
        latents: Tensor = self.encoder(pictures)
        return latents

    def read(self, portrait: Tensor) -> tuple[Tensor, ...]:
        """(b, 3, s, s) -> its features at s/16, s/8, s/4 and, where there is such a level, s/2."""
        features: tuple[Tensor, ...] = self.reader(portrait)
        return features

    def draft(self, latents: Tensor, portrait: Tensor, features: tuple[Tensor, ...]) -> Draft:
        """Latents (b, c, h, w), the portrait's own and its features, of one row or b."""
        rows = len(latents)
        every = [each.expand(rows, -1, -1, -1) for each in (portrait, *features)]
        drawn: Draft = self.decoder(latents, every[0], tuple(every[1:]))
        return drawn


class _Reader(nn.Module):
    def __init__(self, widths: tuple[int, ...], finest: int) -> None:
        super().__init__()
        fine, middle, _ = widths
        self.finest = _read_in(2, finest) if finest else None
        self.fine = _read_in(4, fine)
        self.middle = nn.Sequential(_halved(fine, middle), _Residual(middle))
        self.coarse = _halved(middle, middle)

    def forward(self, portrait: Tensor) -> tuple[Tensor, ...]:
        fine = self.fine(portrait)
        middle = self.middle(fine)
        found = (self.coarse(middle), middle, fine)
        return found if self.finest is None else (*found, self.finest(portrait))


class _Decoder(nn.Module):
    """Three levels: each finds the flow more finely, and reads the portrait's features along it; perhaps a fourth, that
    adds to what these say."""

    def __init__(self, widths: tuple[int, ...], finest: int, channels: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.coarse_in = nn.Conv2d(2 * channels + middle, coarse, 3, padding=1)
        self.coarse = nn.Sequential(*(_Residual(coarse) for _ in range(3)))
        self.middle_up = _doubled(coarse, middle)
        self.middle_flow = _zero(nn.Conv2d(middle, 2, 3, padding=1))
        self.middle_in = nn.Conv2d(2 * middle, middle, 3, padding=1)
        self.middle = nn.Sequential(*(_Residual(middle) for _ in range(2)))
        self.fine_up = _doubled(middle, fine)
        self.fine_flow = _zero(nn.Conv2d(fine, 2, 3, padding=1))
        self.fine_in = nn.Conv2d(2 * fine, fine, 3, padding=1)
        self.fine = nn.Sequential(*(_Residual(fine) for _ in range(2)))
        self.last_flow = _zero(nn.Conv2d(fine, 2, 3, padding=1))
        self.last = nn.Conv2d(fine, 4 * 16, 3, padding=1)  # painted and mask, 4 x 4 pixels of each
        self.finest = _Finest(fine, finest) if finest else None

    def forward(self, latents: Tensor, portrait: Tensor, features: tuple[Tensor, ...]) -> Draft:
        coarse, middle, fine = features[:3]
        changed = _changed(latents, portrait)
        hidden = self.coarse(self.coarse_in(torch.cat([latents, portrait, coarse], dim=1)))
        hidden = self.middle_up(hidden)
        flow = self.middle_flow(hidden).float() * REACH
        hidden = torch.cat([hidden, _carried(middle, flow, changed)], dim=1)
        hidden = self.fine_up(self.middle(self.middle_in(hidden)))
        flow = resized(flow, *hidden.shape[-2:]) + self.fine_flow(hidden).float() * REACH
        hidden = torch.cat([hidden, _carried(fine, flow, changed)], dim=1)
        hidden = self.fine(self.fine_in(hidden))
        flow = flow + self.last_flow(hidden).float() * REACH
        pixels = functional.pixel_shuffle(self.last(hidden), 4)
        if self.finest is not None:
            flow, more = self.finest(hidden, flow, features[3], changed)
            pixels = pixels + more
        new = torch.sigmoid(-pixels[:, 3:].float() - KEPT) * resized(changed, *pixels.shape[-2:])
        return Draft(flow * resized(changed, *flow.shape[-2:]), 1 - new, pixels[:, :3])


class _Finest(nn.Module):
    """The level at half of the size, for what is finer than four pixels: lips, lids, teeth. It begins by adding
    nothing, so that a decoder may grow it."""

    def __init__(self, fine: int, width: int) -> None:
        super().__init__()
        self.up = _doubled(fine, width)
        self.into = nn.Conv2d(2 * width, width, 3, padding=1)
        self.blocks = nn.Sequential(*(_Residual(width) for _ in range(2)))
        self.flow = _zero(nn.Conv2d(width, 2, 3, padding=1))
        self.last = _zero(nn.Conv2d(width, 4 * 4, 3, padding=1))  # painted and mask, 2 x 2 pixels of each

    def forward(self, hidden: Tensor, flow: Tensor, portrait: Tensor, changed: Tensor) -> tuple[Tensor, Tensor]:
        """The flow at half of the size, and what is added to painting and mask."""
        hidden = self.up(hidden)
        flow = resized(flow, *hidden.shape[-2:])
        hidden = self.blocks(self.into(torch.cat([hidden, _carried(portrait, flow, changed)], dim=1)))
        return flow + self.flow(hidden).float() * REACH, functional.pixel_shuffle(self.last(hidden), 2)


def _changed(latents: Tensor, portrait: Tensor) -> Tensor:
    """How far each cell, or the one beside it that is farthest, is from the portrait's: (b, 1, h, w), 0 where they are
    equal, up to 1."""
    away = (latents.float() - portrait.float()).square().mean(dim=1, keepdim=True)
    away = functional.max_pool2d(away, 3, stride=1, padding=1)
    return away / (away + NEAR)


def _carried(features: Tensor, flow: Tensor, changed: Tensor) -> Tensor:
    return read_along(features, flow * resized(changed, *flow.shape[-2:]))


class _Residual(nn.Module):
    """Two convolutions that add little at first; nothing is normalised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.gain = nn.Parameter(torch.full((1,), 0.2))

    def forward(self, hidden: Tensor) -> Tensor:
        added = self.conv2(functional.silu(self.conv1(functional.silu(hidden))))
        return hidden + self.gain.to(added.dtype) * added


def _read_in(fold: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.PixelUnshuffle(fold), nn.Conv2d(3 * fold**2, width, 3, padding=1), _Residual(width))


def _halved(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, out_channels, 1))


def _doubled(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 4 * out_channels, 1), nn.PixelShuffle(2))


@torch.no_grad()
def _louder(layer: nn.Conv2d) -> nn.Conv2d:
    """As torch begins them latents have a deviation of .1, and what changes in them is nearer than NEAR: the flow would
    not be heard, nor learnt, until they have grown."""
    layer.weight.mul_(10)
    return layer


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
