"""Latents to pictures, a few frames at a time, so that memory does not depend on the clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import PortraitDetail
from ..models.flow import shrunk
from ..models.vae import VAE
from .placement import detail_to_network, is_compiled, to_network

if TYPE_CHECKING:
    from ..config import VAEConfig


def preview_detail(detail: PortraitDetail | None, vae: VAEConfig) -> PortraitDetail | None:
    """What a preview is decoded with: the picture no larger than the VAE sees it, all else the same."""
    if detail is None or detail.picture.shape[-1] <= vae.size:
        return detail
    return dataclasses.replace(detail, picture=shrunk(detail.picture, vae.size, vae.size))


@torch.no_grad()
def decode_frames(
    vae: VAE,
    latents: Tensor,
    *,
    chunk: int,
    detail: PortraitDetail | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Tensor | None:
    """latents (f, c, h, w) -> frames (f, H, W, 3) float32 on the CPU, in 0..1; None if `should_stop` answered True.
    `detail`: of the portrait, for a VAE that reads it; the frames have the size of its picture.

    From a card the pictures of one chunk come into page-locked memory while the next is decoded. A compiled decoder
    gets chunks of one size, the last filled up, or it would be built anew.
    """
    pieces, filled = [], is_compiled(vae)
    seen = None if detail is None else detail_to_network(detail, vae)
    for part in latents.split(chunk):
        if should_stop is not None and should_stop():
            return None
        count = len(part)
        if filled and count < chunk:
            part = torch.cat([part, part[-1:].expand(chunk - count, -1, -1, -1)])
        pictures = vae.decode(to_network(part, vae), seen)[:count].float()
        shown = ((pictures + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)
        pieces.append(shown.contiguous().to("cpu", non_blocking=True) if shown.is_cuda else shown.cpu())
    if pictures.is_cuda:
        torch.cuda.synchronize(pictures.device)
    return torch.cat(pieces)
