"""One channel of what a recording has: in, a `Waveform`; out, what an encoder listens to, piece by piece.

Two channels are averaged, more are mixed as for two ears first. Where two cancel each other (a balanced microphone on a
stereo input, a cable with crossed wires) the louder one is heard instead.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from ..channels import HALF_POWER, USUAL, stereo_weights
from ..data import Waveform

BLOCK_S = 0.5  # in which channels are compared
CANCELLED = 0.1  # of the louder channel's power is all that is left of the mean's: ordinary stereo keeps a quarter
_SILENT = 1e-8  # mean square, -80 dB
_FADE_S = 0.01

log = logging.getLogger(__name__)


def heard(waveform: Waveform) -> Iterator[Tensor]:
    """Pieces (t,) float32 on the CPU."""
    if waveform.samples.shape[0] == 1:
        for (pair,) in _pairs(waveform):
            yield pair
        return
    gain = 0.5 if waveform.samples.shape[0] == 2 else HALF_POWER  # of many: the centre at its own level
    opposite, louder = _opposite(waveform)
    if not any(opposite):
        for pair in _pairs(waveform):
            yield pair.sum(dim=0) * gain
        return
    side = ("left", "right")[louder]
    told = "%s s of %s s the channels are opposite in phase and cancel each other: the louder one (%s) is heard"
    log.warning("audio: for " + told, f"{sum(opposite) * BLOCK_S:g}", f"{waveform.duration_s:.1f}", side)
    mixed, alone = torch.full((2,), gain), torch.zeros(2)
    alone[louder] = 2 * gain
    before = alone if opposite[0] else mixed
    fade = round(_FADE_S * waveform.sample_rate)
    for pair, is_opposite in zip(_pairs(waveform), opposite, strict=True):
        weights = alone if is_opposite else mixed
        steps = (torch.arange(pair.shape[1]) / fade).clamp(max=1)
        yield (pair * torch.lerp(before[:, None], weights[:, None], steps)).sum(dim=0)
        before = weights


def _pairs(waveform: Waveform) -> Iterator[Tensor]:
    """Left and right, or the only channel, in blocks (1 or 2, t)."""
    channels = waveform.samples.shape[0]
    weights = stereo_weights(USUAL[channels]) if channels > 2 else None
    for piece in waveform.samples.detach().split(max(1, round(BLOCK_S * waveform.sample_rate)), dim=1):
        piece = piece.to("cpu", torch.float32)
        yield piece if weights is None else weights @ piece


def _opposite(waveform: Waveform) -> tuple[list[bool], int]:
    """Per block, whether the channels cancel each other; and which is the louder one of all such blocks."""
    powers = torch.stack([
        torch.stack([*pair.square().mean(dim=1), (pair.sum(dim=0) / 2).square().mean()]) for pair in _pairs(waveform)
    ])  # fmt: skip
    loudest = powers[:, :2].amax(dim=1)
    opposite = (loudest > _SILENT) & (powers[:, 2] < CANCELLED * loudest)
    return opposite.tolist(), int(powers[opposite, :2].sum(dim=0).argmax())
