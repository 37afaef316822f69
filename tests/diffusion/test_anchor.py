"""Frames that are held are the target; free frames do not notice; predictions and clean estimates are inverses."""

from __future__ import annotations

import pytest
import torch

from emo_core.config import ScheduleConfig
from emo_core.diffusion.anchor import Anchor
from emo_core.diffusion.denoise import denoise
from emo_core.diffusion.schedule import clean_estimate, prediction_of

KINDS = ["epsilon", "v_prediction", "sample"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_is_found_again_from_its_clean_estimate(kind: str) -> None:
    noisy, prediction, alpha = torch.randn(2, 3), torch.randn(2, 3), torch.tensor(0.3)
    clean = clean_estimate(noisy, prediction, alpha, kind)
    torch.testing.assert_close(prediction_of(noisy, clean, alpha, kind), prediction)


def far(frames: torch.Tensor, target: torch.Tensor) -> float:
    return float((frames - target).abs().mean())


def test_all_steps_together_are_the_weight() -> None:
    """Estimates that nobody moves back end where the weight says, however many steps there are."""
    weight = torch.tensor([0.0, 0.3, 0.8, 1.0])
    for steps in (2, 10, 40):
        clean = torch.zeros(1, 4, 1, 1, 1)
        anchor = Anchor(torch.ones(1, 1, 1, 1, 1), weight)
        for step in range(1, steps + 1):
            clean = anchor.pull(clean, step=step, steps=steps)
        expected = 1 - (1 - weight) ** ((steps - 1) / steps)
        torch.testing.assert_close(clean.flatten(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm++", "lcm"])
def test_held_frames_end_at_the_target_and_free_ones_where_they_would(kind: str, scheduler: str) -> None:
    config = ScheduleConfig(prediction_type=kind, rescale_betas_zero_snr=kind != "epsilon")  # type: ignore[arg-type]
    noise = torch.randn(1, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    target = torch.full((1, 1, 2, 4, 4), 0.7)
    anchor = Anchor(target, torch.tensor([1.0, 0.4, 0.0]))

    def run(with_anchor: bool) -> torch.Tensor:
        made = denoise(
            lambda noisy, timestep: 0.1 * noisy,  # frame by frame, so that frames cannot help each other
            noise,
            config,
            scheduler=scheduler,
            steps=4,
            generator=torch.Generator().manual_seed(1),
            anchor=anchor if with_anchor else None,
        )
        assert made is not None
        return made

    plain, anchored = run(False), run(True)
    torch.testing.assert_close(anchored[:, 2], plain[:, 2], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(anchored[:, 0], target[:, 0].expand_as(anchored[:, 0]), atol=2e-2, rtol=0)
    assert far(anchored[:, 1], target[:, 0]) < far(plain[:, 1], target[:, 0])
    assert float((anchored[:, 1] - plain[:, 1]).abs().max()) > 1e-3
