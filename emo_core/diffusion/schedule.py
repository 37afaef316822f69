"""Noise schedules: in, a ScheduleConfig; out, one of diffusers' schedulers ready for a number of steps, or the
cumulative alphas for training. EMO samples with DDIM in 40 steps (paper 4.1) and publishes no schedule.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..config import ScheduleConfig
from ..data import SCHEDULERS
from ..errors import EmoInputError
from ..libraries import importing

TRAIN_TIMESTEPS = 1000  # SD1.5's
CLASSES = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "lcm": "LCMScheduler",
    "tcd": "TCDScheduler",
}
DISTILLED_STEPS = 50  # LCM's and TCD's original_inference_steps (their papers): first timestep 999, then every 20th


def build_scheduler(config: ScheduleConfig, name: str, steps: int) -> Any:
    """A fresh diffusers scheduler `name` (one of data.SCHEDULERS) with its timesteps set; all its tables on the CPU.

    Euler and DPM++ work with sigmas, which are infinite at zero signal; diffusers gives that step a sigma of 4096.
    """
    if config.rescale_betas_zero_snr and config.prediction_type == "epsilon":
        raise EmoInputError(
            "schedule",
            "prediction of the noise with zero terminal SNR",
            "v_prediction or sample",
            "Pure noise tells nothing.",
        )
    if not 1 <= steps <= TRAIN_TIMESTEPS:
        raise EmoInputError("steps", f"{steps}", f"1 to {TRAIN_TIMESTEPS}")
    scheduler = _construct(config, name, steps)
    scheduler.set_timesteps(steps, device="cpu")
    return scheduler


def _construct(config: ScheduleConfig, name: str, steps: int) -> Any:
    if name not in CLASSES:
        raise EmoInputError("scheduler", repr(name), f"one of {', '.join(SCHEDULERS)}")
    with importing("diffusers"):
        import diffusers  # 2 s: only when something is sampled

        kind = getattr(diffusers, CLASSES[name])
    common: dict[str, Any] = {
        "num_train_timesteps": TRAIN_TIMESTEPS,
        "beta_schedule": config.beta_schedule,
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
        "prediction_type": config.prediction_type,
        "rescale_betas_zero_snr": config.rescale_betas_zero_snr,
        "timestep_spacing": config.timestep_spacing,
        "steps_offset": config.steps_offset,
    }
    if config.snr_shift != 1.0:
        common |= {"trained_betas": _shifted_betas(config)}
    if name == "ddim":
        return kind(**common, clip_sample=False)
    if name == "euler":
        return kind(**common)
    if name == "dpm++":
        return kind(**common, algorithm_type="dpmsolver++", solver_order=2)
    # LCM and TCD. 1000 is the only larger schedule that divides evenly and so still starts at timestep 999.
    original = DISTILLED_STEPS if steps <= DISTILLED_STEPS else TRAIN_TIMESTEPS
    return kind(**common, clip_sample=False, original_inference_steps=original)


def _shifted_betas(config: ScheduleConfig) -> list[float]:
    """Betas of the schedule whose signal-to-noise ratio is everywhere divided by snr_shift squared (simple diffusion's
    shift, Hoogeboom et al. 2023, made for pictures whose large parts are decided at high noise)."""
    plain = _construct(replace(config, snr_shift=1.0, rescale_betas_zero_snr=False), "ddim", 1)
    alphas = plain.alphas_cumprod.double()
    shifted = alphas / (alphas + config.snr_shift**2 * (1 - alphas))
    before = torch.cat([torch.ones(1, dtype=torch.float64), shifted[:-1]])
    betas: list[float] = (1 - shifted / before).tolist()
    return betas


def alphas_cumprod(config: ScheduleConfig) -> Tensor:
    """Share of signal variance left at each training timestep: (1000,) float32, exactly 0 at the end with zero SNR."""
    table: Tensor = _construct(config, "ddim", 1).alphas_cumprod
    return table.to(torch.float32)


def clean_estimate(noisy: Tensor, prediction: Tensor, alpha_cumprod: Tensor, prediction_type: str) -> Tensor:
    """The clean latents a prediction stands for; `alpha_cumprod` broadcasts against `noisy` (variance-preserving)."""
    if prediction_type == "sample":
        return prediction
    signal, noise = alpha_cumprod.sqrt(), (1.0 - alpha_cumprod).sqrt()
    if prediction_type == "v_prediction":
        return signal * noisy - noise * prediction
    return (noisy - noise * prediction) / signal


def prediction_of(noisy: Tensor, clean: Tensor, alpha_cumprod: Tensor, prediction_type: str) -> Tensor:
    """The prediction that stands for these clean latents: the inverse of `clean_estimate`."""
    if prediction_type == "sample":
        return clean
    signal, noise = alpha_cumprod.sqrt(), (1.0 - alpha_cumprod).sqrt()
    if prediction_type == "v_prediction":
        return (signal * noisy - clean) / noise
    return (noisy - signal * clean) / noise
