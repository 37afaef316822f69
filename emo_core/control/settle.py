"""How a video begins and ends: in the silence before and after the voice the face comes from, and goes back to, the
portrait. In: how many frames of silence there are. Out: weights per frame, 1 where the frame is the portrait itself.
"""

from __future__ import annotations

import torch
from torch import Tensor


def settle_weights(total: int, lead_in: int, lead_out: int) -> Tensor | None:
    """(total,): 1 in the first frame, down to 0 where the voice begins, up again from its end to 1 in the last frame;
    None where there is no silence to settle in."""
    if not lead_in and not lead_out:
        return None
    frames = torch.arange(total, dtype=torch.float32)
    weights = torch.zeros(total)
    if lead_in:
        weights = torch.maximum(weights, 1 - frames / lead_in)
    if lead_out:
        weights = torch.maximum(weights, 1 - (total - 1 - frames) / lead_out)
    return weights


def calm_speed(speed: Tensor, weights: Tensor | None) -> Tensor:
    """Speeds (f,) that come to rest where the weights (f,) hold the portrait."""
    return speed if weights is None else speed * (1 - weights)
