"""Latents to pictures, a few frames at a time, so that memory does not depend on the clip."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.vae import VAE
from .placement import to_network


@torch.no_grad()
def decode_frames(
    vae: VAE, latents: Tensor, *, chunk: int, should_stop: Callable[[], bool] | None = None
) -> Tensor | None:
    """latents (f, c, h, w) -> frames (f, H, W, 3) float32 on the CPU, in 0..1; None if `should_stop` answered True."""
    pieces = []
    for part in latents.split(chunk):
        if should_stop is not None and should_stop():
            return None
        pictures = vae.decode(to_network(part, vae)).float()
        pieces.append(((pictures + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu())
    return torch.cat(pieces)
