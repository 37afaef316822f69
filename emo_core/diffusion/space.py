"""What is diffused: the latents themselves (EMO, Stable Diffusion), or their difference from the portrait's latent.

The difference is ours, for very small networks (`ScheduleConfig.residual_scale`): what does not move is then zero, so
that still regions stay sharp and calm by construction and the network spends itself on what changes.
"""

from __future__ import annotations

from torch import Tensor

from ..config import ScheduleConfig


def to_diffused(latents: Tensor, portrait: Tensor, config: ScheduleConfig) -> Tensor:
    """Latents (b, f, c, h, w) and the portrait's (b, c, h, w), or (b, f, c, h, w) turned to each frame's pose -> what
    noise is added to, of the latents' shape."""
    if config.residual_scale == 0.0:
        return latents
    return (latents - _per_frame(portrait)) * config.residual_scale


def from_diffused(diffused: Tensor, portrait: Tensor, config: ScheduleConfig) -> Tensor:
    """The inverse of `to_diffused`."""
    if config.residual_scale == 0.0:
        return diffused
    return diffused / config.residual_scale + _per_frame(portrait).to(diffused.dtype)


def _per_frame(portrait: Tensor) -> Tensor:
    return portrait if portrait.ndim == 5 else portrait.unsqueeze(1)
