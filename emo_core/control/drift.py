"""Two guards against drift in long videos, both approximations and off by default.

Motion frames carry small errors from clip to clip. Hallo2 (arXiv 2410.07718) drops random patches of them outside the
face, in training and in sampling, so that only the face's movement is carried on; here a dropped patch shows the
portrait, which also untrained models understand. And each clip's colour statistics can be drawn to the portrait's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

INSIDE = 0.5  # of a latent's pixels in the face region: the latent belongs to the face
MAX_SCALE = 1.25  # a clip with much more contrast than the portrait is another picture, not a drifted one


def drop_patches(
    motion: Tensor, portrait: Tensor, region: Tensor, rate: float, generator: torch.Generator | None = None
) -> Tensor:
    """Motion latents (b, n, c, h, w) of which a share `rate` of the places outside the face shows the portrait (b, c,
    h, w). `region` (b, H, W) in 0..1: where the face may be. Drawn once for all n frames, on the CPU."""
    if rate <= 0:
        return motion
    height, width = motion.shape[-2:]
    face = functional.adaptive_avg_pool2d(region.unsqueeze(1).float(), (height, width)).to(motion.device)
    chance = torch.rand((len(motion), 1, height, width), generator=generator).to(motion.device)
    dropped = (face < INSIDE) & (chance < rate)
    return torch.where(dropped.unsqueeze(1), portrait.unsqueeze(1).to(motion), motion)


def anchor_colours(latents: Tensor, portrait: Tensor, strength: float) -> Tensor:
    """Latents (f, c, h, w) of a clip whose mean and deviation per channel, over the whole clip, are drawn to those of
    the portrait (c, h, w): not at all at strength 0, entirely at 1."""
    if strength <= 0:
        return latents
    axes = (0, 2, 3)
    target = portrait.to(latents).unsqueeze(0)
    mean, deviation = latents.mean(axes, keepdim=True), latents.std(axes, keepdim=True, correction=0).clamp(min=1e-6)
    scale = (target.std(axes, keepdim=True, correction=0) / deviation).clamp(1 / MAX_SCALE, MAX_SCALE)
    anchored = (latents - mean) * scale + target.mean(axes, keepdim=True)
    return latents + strength * (anchored - latents)
