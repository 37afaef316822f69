"""Frames drawn to a picture while they are denoised: how a video begins at the portrait and settles back to it.

In: clean estimates of a clip and a target. Out: estimates that lie nearer to the target, frame by frame. Only what the
estimates are while there is noise is moved, so that the network itself joins the frames and no picture is a double
exposure; frames that are held entirely (weight 1) are the target to the end. Not in the paper; nothing without it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Anchor:
    """`target` broadcasts against the latents (1, f, c, h, w); `weight` (f,) in 0..1, 1: the frame is the target."""

    target: Tensor
    weight: Tensor

    def pull(self, clean: Tensor, *, step: int, steps: int) -> Tensor:
        """Clean estimates (1, f, c, h, w) of step 1..steps moved towards the target; in the last step only frames that
        are held. What the steps do together is the weight: each leaves the steps-th root of what the weight leaves."""
        weight = self.weight.to(clean).view(1, -1, 1, 1, 1)
        weight = (weight >= 1).to(clean.dtype) if step == steps else 1 - (1 - weight) ** (1 / steps)
        return clean + weight * (self.target.to(clean) - clean)
