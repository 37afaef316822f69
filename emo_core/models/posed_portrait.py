"""The portrait's latent with its head turned a little: in, the latent and a pose for every frame; out, latents.

Not in the paper: EMO's network finds the head's movement in the noise. A small one does not, and paints every part of
the face as if the head were elsewhere. Here the latent is carried along by a flow, which is read off the portrait and
linear in the powers of the pose, and painted over by a few convolutions that are told the pose. Of what changes in
unseen people's latents when they turn, anywhere up to 5.5 degrees of pitch, 9 of yaw and 3.5 of roll together, it
leaves 0.34 (RMS; weights/emo-mini/README.md). A polynomial of the angles, which stood here before, took three times as
many steps to learn as much, and made reliefs of faces in poses that it had seldom met. The rest, and all that speaks,
is the backbone's (`diffusion.space`).
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..config import PosedPortraitConfig
from .flow import read_at

UNIT_DEG = 5.0  # an angle of 1 in the powers
REACH = 0.25  # of half a picture: a flow of 1
_READERS = 3  # blocks that read the portrait, before it is turned
_NEAR = 0.02  # square of the angle (of 1 = UNIT_DEG) at which half of what is painted counts


class PosedPortrait(nn.Module):
    """A latent carried and painted over; no turn leaves it as it is."""

    def __init__(self, config: PosedPortraitConfig, channels: int) -> None:
        super().__init__()
        width = config.width
        self.terms = _terms(config.degree)
        self.conv_in = nn.Conv2d(channels + 2, width, 3, padding=1)  # + where a cell lies
        self.reader = nn.ModuleList(_Residual(width) for _ in range(_READERS))
        self.flow = _zero(nn.Conv2d(width, 2 * len(self.terms), 3, padding=1))
        self.carried_in = nn.Conv2d(channels, width, 3, padding=1)
        self.hidden_in = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.painter = nn.ModuleList(_Residual(width) for _ in range(config.blocks))
        told = 2 * width * config.blocks
        self.pose = nn.Sequential(nn.Linear(len(self.terms), width), nn.SiLU(), nn.Linear(width, told))
        self.conv_out = _zero(nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, portrait: Tensor, pose: Tensor) -> Tensor:
        """portrait (b, c, h, w), pose (b, f, 3) pitch, yaw, roll in degrees away from it -> (b, f, c, h, w)."""
        frames, place = pose.shape[1], _place(portrait)
        hidden = self.conv_in(torch.cat([portrait, place.expand(len(portrait), -1, -1, -1)], dim=1))
        for block in self.reader:
            hidden = block(hidden)
        powers = _powers(pose, self.terms).to(hidden.dtype)
        flow = self.flow(functional.silu(hidden)).unflatten(1, (len(self.terms), 2))
        moved = torch.einsum("bft,btdhw->bfdhw", powers, flow).flatten(0, 1)
        both = torch.cat([portrait, hidden], dim=1).repeat_interleave(frames, dim=0)
        carried, hidden = _carried(both, moved, place).tensor_split([portrait.shape[1]], dim=1)
        hidden = self.carried_in(carried) + self.hidden_in(hidden)
        told = self.pose(powers).flatten(0, 1)[..., None, None]
        for block, scale_shift in zip(self.painter, told.chunk(len(self.painter), dim=1), strict=True):
            hidden = block(hidden, scale_shift)
        away = pose.div(UNIT_DEG).square().sum(-1).flatten()[:, None, None, None]
        painted = self.conv_out(functional.silu(hidden)) * (away / (away + _NEAR)).to(hidden.dtype)
        return (carried + painted).unflatten(0, (-1, frames))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, hidden: Tensor, scale_shift: Tensor | None = None) -> Tensor:
        """(b, c, h, w); `scale_shift` (b, 2 c, 1, 1) of the normalised input."""
        normed = self.norm(hidden)
        if scale_shift is not None:
            scale, shift = scale_shift.chunk(2, dim=1)
            normed = normed * (1 + scale) + shift
        out: Tensor = hidden + self.conv2(functional.silu(self.conv1(functional.silu(normed))))
        return out


def _terms(degree: int) -> list[tuple[int, ...]]:
    """The products of angles up to a degree: (0,), (1,), (2,), (0, 0), (0, 1) and so on."""
    return [term for k in range(1, degree + 1) for term in combinations_with_replacement(range(3), k)]


def _powers(pose: Tensor, terms: list[tuple[int, ...]]) -> Tensor:
    """(b, f, 3) in degrees -> (b, f, t)."""
    angles = pose.div(UNIT_DEG).unbind(-1)
    return torch.stack([math.prod(angles[axis] for axis in term) for term in terms], dim=-1)  # type: ignore[misc]


def _place(portrait: Tensor) -> Tensor:
    """Where a cell lies: (2, h, w), down and across in -1..1."""
    height, width = portrait.shape[-2:]
    down = torch.linspace(-1, 1, height, device=portrait.device, dtype=portrait.dtype)
    across = torch.linspace(-1, 1, width, device=portrait.device, dtype=portrait.dtype)
    return torch.stack([down[:, None].expand(height, width), across.expand(height, width)])


def _carried(maps: Tensor, moved: Tensor, place: Tensor) -> Tensor:
    """Maps (b, c, h, w) read where `moved` (b, 2, h, w; x and y, in REACH of half a picture) says; float32 inside,
    for the sake of devices that have no other kernel."""
    grid = place.flip(0).float() + moved.float() * REACH
    read = read_at(maps.float(), grid.permute(0, 2, 3, 1), padding_mode="border", align_corners=True)
    return read.to(maps.dtype)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
