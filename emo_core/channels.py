"""Many channels to two: in, samples of 1 to 8 channels; out, left and right as people with two ears hear them.

The weights are those of ITU-R BS.775: the centre, which speaks in films, goes to both sides, what comes from behind to
its side, both 3 dB quieter; the deep effects (LFE) are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

HALF_POWER = 0.5**0.5
# How much of a channel, by FFmpeg's name for its place, is in left and right.
_PLACES = {
    "FL": (1.0, 0.0), "FR": (0.0, 1.0), "FC": (HALF_POWER, HALF_POWER), "LFE": (0.0, 0.0), "LFE2": (0.0, 0.0),
    "BL": (HALF_POWER, 0.0), "BR": (0.0, HALF_POWER), "SL": (HALF_POWER, 0.0), "SR": (0.0, HALF_POWER),
    "BC": (0.5, 0.5), "FLC": (1.0, 0.0), "FRC": (0.0, 1.0), "WL": (HALF_POWER, 0.0), "WR": (0.0, HALF_POWER),
    "DL": (1.0, 0.0), "DR": (0.0, 1.0), "TFL": (HALF_POWER, 0.0), "TFR": (0.0, HALF_POWER), "TFC": (0.5, 0.5),
    "TBL": (0.5, 0.0), "TBR": (0.0, 0.5), "TBC": (0.25, 0.25), "TC": (0.25, 0.25),
}  # fmt: skip
# What so many channels are where nothing else is known, in FFmpeg's order, which is the host's. (Three may also be
# left, right and LFE; a voice that is left out is the worse mistake.)
USUAL: dict[int, tuple[str, ...]] = {
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "FC", "BC"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
MAX_CHANNELS = max(USUAL)
PIECE = 1 << 20  # samples of each channel that are looked at together


def stereo_weights(places: Sequence[str]) -> Tensor:
    """(2, channels) for channels at these places; one of an unknown place is heard on both sides."""
    return torch.tensor([_PLACES.get(place, (0.5, 0.5)) for place in places]).T.contiguous()


def to_stereo(samples: Tensor) -> Tensor:
    """(channels, t) to at most two channels; one or two stay as they are. Where the sum of many would be above full
    scale, and none of them is, all of it is made quieter."""
    if samples.shape[0] <= 2:
        return samples
    out = samples.new_empty(2, samples.shape[-1])
    weights = stereo_weights(USUAL[samples.shape[0]]).to(samples)
    for first in range(0, samples.shape[-1], PIECE):
        torch.matmul(weights, samples[:, first : first + PIECE], out=out[:, first : first + PIECE])
    loudest = peak(out)
    return out.div_(loudest) if loudest > 1 >= peak(samples) else out


def peak(samples: Tensor) -> float:
    """The largest absolute value of (channels, t), found piece by piece; NaN or infinite if a sample is."""
    loudest = 0.0
    for piece in samples.split(PIECE, dim=-1):
        if piece.numel():
            low, high = (float(edge) for edge in torch.aminmax(piece))
            if low != low:
                return low
            loudest = max(loudest, -low, high)
    return loudest
