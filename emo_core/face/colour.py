"""The colours of a painted frame brought to those of the picture it is pasted into, as far as a model drifts.

In: pictures (H, W, 3) float 0..1 of the same place, and the ring (H, W) where both should show the same. Out: a gain
and an offset for each channel. Each frame is taken by itself: a run that is taken up again gives the same frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_GAIN = 1.2  # and 1 / MAX_GAIN: what differs by more is another content, not a drift
MAX_SHIFT = 0.1  # of a colour in the middle of the ring's
# Half of the ring must be still: what moves through it (hair, a shoulder) differs most and is left out.
STILL_SHARE = 0.5
FLAT = 0.02  # standard deviation of a ring too even to tell contrast by


@dataclass(frozen=True)
class ColourMatch:
    """A colour x becomes x * gain + offset; both (3,)."""

    gain: Tensor
    offset: Tensor

    def __call__(self, picture: Tensor) -> Tensor:
        """(..., 3) in 0..1 -> the same, in the colours matched to."""
        return (picture * self.gain + self.offset).clamp(0, 1)


def match_colours(frame: Tensor, picture: Tensor, ring: Tensor) -> ColourMatch:
    """The gain and offset that give the frame's ring the mean and the standard deviation of the picture's.

    Both are bounded, and only the half of the ring where the two differ most alike is asked.
    """
    painted, wanted = frame[ring].double(), picture[ring].double()
    if len(painted) < 2:
        return ColourMatch(torch.ones(3), torch.zeros(3))
    difference = wanted - painted
    away = (difference - difference.median(dim=0).values).abs().sum(dim=-1)
    still = away <= away.quantile(STILL_SHARE) if len(away) < 2**20 else away <= away.median()
    painted, wanted = painted[still], wanted[still]
    spread = [(part.var(dim=0, correction=0) + FLAT**2).sqrt() for part in (wanted, painted)]
    gain = (spread[0] / spread[1]).clamp(1 / MAX_GAIN, MAX_GAIN)
    middle = painted.mean(dim=0)
    shift = (wanted.mean(dim=0) - middle).clamp(-MAX_SHIFT, MAX_SHIFT)
    return ColourMatch(gain.float(), (middle + shift - gain * middle).float())
