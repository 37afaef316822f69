"""The loop over the steps of one clip: in, noise and a function that predicts; out, clean latents (paper 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..config import ScheduleConfig
from .anchor import Anchor
from .schedule import alphas_cumprod, build_scheduler, clean_estimate, prediction_of

# Noisy latents (1, f, c, h, w), timestep () on the CPU -> prediction of the latents' shape.
Predict = Callable[[Tensor, Tensor], Tensor]
OnStep = Callable[[int, Tensor], None]  # steps done, estimate of the clean latents (1, f, c, h, w)

# Their last step may end at timestep 0 (DDIM: where the steps do not divide 1000), which still holds sqrt(beta_0) of
# noise, 3 % with SD1.5's betas; we end at the clean estimate.
STOPS_SHORT = ("ddim", "tcd")


def denoise(
    predict: Predict,
    noise: Tensor,
    config: ScheduleConfig,
    *,
    scheduler: str = "ddim",
    steps: int = 40,
    generator: torch.Generator | None = None,
    anchor: Anchor | None = None,
    on_step: OnStep | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Tensor | None:
    """Latents (1, f, c, h, w) float32 from unit `noise` of that shape; None if `should_stop` answered True.

    `generator` (CPU) gives LCM and TCD the noise they add between steps. `anchor` draws frames to a given picture.
    Nothing is kept between calls.
    """
    plan: Any = build_scheduler(config, scheduler, steps)
    alphas = alphas_cumprod(config)
    latents = noise.float() * plan.init_noise_sigma
    for done, timestep in enumerate(plan.timesteps, start=1):
        if should_stop is not None and should_stop():
            return None
        noisy = plan.scale_model_input(latents, timestep)
        prediction = predict(noisy, timestep).float()
        alpha = alphas[timestep.long()]  # stays on the CPU: a number to a card, which nothing waits for
        clean = clean_estimate(noisy, prediction, alpha, config.prediction_type)
        if anchor is not None:
            clean = anchor.pull(clean, step=done, steps=steps)
            prediction = prediction_of(noisy, clean, alpha, config.prediction_type)
        latents = plan.step(prediction, timestep, latents, generator=generator, return_dict=False)[0]
        if done == steps and scheduler in STOPS_SHORT:
            latents = clean
        if on_step is not None:
            on_step(done, clean)
    return latents
