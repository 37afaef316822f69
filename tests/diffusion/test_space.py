"""What is diffused: the way there and back is exact, and a still picture is zero."""

from __future__ import annotations

from dataclasses import replace

import torch

from emo_core.config import TINY
from emo_core.diffusion.space import from_diffused, to_diffused

LATENTS = torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
PORTRAIT = LATENTS[:, 0].clone()
RESIDUAL = replace(TINY.schedule, residual_scale=2.0)
PLAIN = replace(TINY.schedule, residual_scale=0.0)


def test_there_and_back() -> None:
    for config in (RESIDUAL, PLAIN):
        back = from_diffused(to_diffused(LATENTS, PORTRAIT, config), PORTRAIT, config)
        assert torch.allclose(back, LATENTS, atol=1e-6)


def test_a_frame_like_the_portrait_is_zero() -> None:
    diffused = to_diffused(LATENTS, PORTRAIT, RESIDUAL)
    assert float(diffused[:, 0].abs().max()) == 0.0
    assert float(diffused[:, 1].abs().max()) > 0.0


def test_without_a_scale_the_latents_themselves_are_diffused() -> None:
    assert to_diffused(LATENTS, PORTRAIT, PLAIN) is LATENTS
