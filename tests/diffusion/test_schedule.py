"""Every scheduler, with every schedule a preset uses: finite, and a network that knows the answer leads to it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from emo_core.config import EMO_MINI, EMO_SD15, ScheduleConfig
from emo_core.data import SCHEDULERS
from emo_core.diffusion.denoise import denoise
from emo_core.diffusion.schedule import alphas_cumprod, build_scheduler, clean_estimate
from emo_core.errors import EmoInputError

SHAPE = (1, 2, 3, 4, 4)
SCHEDULES = {"sd15": EMO_SD15.schedule, "mini": EMO_MINI.schedule}


def oracle(clean: torch.Tensor, config: ScheduleConfig):
    """The network that knows the clean latents: its v is the one that a perfect network would give."""
    alphas = alphas_cumprod(config)

    def predict(noisy: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        if config.prediction_type == "sample":
            return clean
        alpha = alphas[timestep.long()]
        if config.prediction_type == "epsilon":
            return (noisy - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        return (alpha.sqrt() * noisy - clean) / (1 - alpha).sqrt()

    return predict


@pytest.mark.parametrize("steps", [1, 2, 10, 40, 60])
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_oracle_is_followed_to_the_clean_sample(name: str, schedule: str, steps: int) -> None:
    config = SCHEDULES[schedule]
    clean = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(3)
    result = denoise(oracle(clean, config), noise, config, scheduler=name, steps=steps, generator=generator)
    assert result is not None and result.isfinite().all()
    assert (result - clean).abs().max() < 0.01


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_other_predictions_lead_there_too(name: str, prediction: str) -> None:
    config = dataclasses.replace(EMO_SD15.schedule, prediction_type=prediction, rescale_betas_zero_snr=False)
    clean = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(3)
    result = denoise(oracle(clean, config), noise, config, scheduler=name, steps=10, generator=generator)
    assert result is not None and (result - clean).abs().max() < 0.01


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_zero_terminal_snr_is_exactly_zero_and_falling(schedule: str) -> None:
    alphas = alphas_cumprod(SCHEDULES[schedule])
    assert alphas.shape == (1000,) and alphas[-1] == 0.0
    assert alphas[0] > 0.99 and (alphas.diff() < 0).all()


@pytest.mark.parametrize("zero_snr", [False, True])
def test_a_shift_divides_the_signal_to_noise_ratio(zero_snr: bool) -> None:
    plain = ScheduleConfig(beta_schedule="squaredcos_cap_v2", rescale_betas_zero_snr=zero_snr)
    usual, shifted = alphas_cumprod(plain)[:-1], alphas_cumprod(dataclasses.replace(plain, snr_shift=8.0))[:-1]
    ratio = (usual / (1 - usual)) / (shifted / (1 - shifted))
    middle = slice(100, 900)
    assert torch.allclose(ratio[middle], torch.full_like(ratio[middle], 64.0), rtol=0.02)
    assert bool((shifted.diff() < 0).all())


@pytest.mark.parametrize("name", SCHEDULERS)
def test_sampling_starts_from_pure_noise(name: str) -> None:
    """Trailing spacing: the first timestep is the last of training, the only one with no signal."""
    assert int(build_scheduler(EMO_SD15.schedule, name, 10).timesteps[0]) == 999


def test_hallos_and_v_express_timesteps() -> None:
    """Read in the released systems (facts, hallo 1.6): 40 trailing steps are 999, 974, ..., 49, 24."""
    assert build_scheduler(EMO_SD15.schedule, "ddim", 40).timesteps.tolist() == list(range(999, 0, -25))


def test_estimates_of_the_clean_sample_reach_the_preview() -> None:
    config = EMO_MINI.schedule
    clean = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    for name in SCHEDULERS:
        seen: list[tuple[int, float]] = []
        denoise(
            oracle(clean, config),
            torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)),
            config,
            scheduler=name,
            steps=4,
            generator=torch.Generator().manual_seed(3),
            on_step=lambda step, latents: seen.append((step, float((latents - clean).abs().max()))),  # noqa: B023
        )
        assert [step for step, _ in seen] == [1, 2, 3, 4]
        assert max(error for _, error in seen) < 0.01, name


def test_a_stop_ends_the_loop_without_latents() -> None:
    calls: list[int] = []

    def predict(noisy: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        calls.append(int(timestep))
        return noisy

    stopped = denoise(predict, torch.randn(SHAPE), EMO_MINI.schedule, steps=10, should_stop=lambda: len(calls) == 3)
    assert stopped is None and len(calls) == 3


def test_the_loop_keeps_nothing_between_calls() -> None:
    noise = torch.randn(SHAPE)
    for name in SCHEDULERS:
        runs = [
            denoise(
                lambda x, t: 0.3 * x,
                noise,
                EMO_MINI.schedule,
                scheduler=name,
                steps=3,
                generator=torch.Generator().manual_seed(5),
            )
            for _ in range(2)
        ]
        assert torch.equal(runs[0], runs[1])


def test_noise_prediction_cannot_start_from_pure_noise() -> None:
    config = dataclasses.replace(EMO_SD15.schedule, prediction_type="epsilon")
    with pytest.raises(EmoInputError, match="v_prediction"):
        build_scheduler(config, "ddim", 10)


def test_an_unknown_scheduler_names_the_known_ones() -> None:
    with pytest.raises(EmoInputError, match=r"ddim.*tcd"):
        build_scheduler(EMO_SD15.schedule, "heun", 10)


def test_clean_estimate_undoes_the_forward_process() -> None:
    clean, noise, alpha = torch.randn(4), torch.randn(4), torch.tensor(0.3)
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    for prediction, kind in ((velocity, "v_prediction"), (noise, "epsilon"), (clean, "sample")):
        torch.testing.assert_close(clean_estimate(noisy, prediction, alpha, kind), clean)
