"""models/posed_portrait: no turn changes nothing, the pose carries the latent along, and
guidance takes it away with the portrait."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from emo_core.config import GuidanceConfig, PosedPortraitConfig
from emo_core.data import Conditions, ReferenceCache
from emo_core.diffusion.guidance import guided_rows, unconditional_conditions
from emo_core.models.posed_portrait import REACH, UNIT_DEG, PosedPortrait

CHANNELS = 3


@pytest.fixture
def posed() -> PosedPortrait:
    torch.manual_seed(0)
    network = PosedPortrait(PosedPortraitConfig(width=16, blocks=1, degree=2), CHANNELS)
    for layer in (network.conv_out, network.flow):  # zero at first
        torch.nn.init.normal_(layer.weight, std=0.1)
    return network.requires_grad_(False)


@pytest.fixture
def portrait() -> torch.Tensor:
    return torch.randn(2, CHANNELS, 6, 5, generator=torch.Generator().manual_seed(1))


def test_no_turn_leaves_the_portrait(posed: PosedPortrait, portrait: torch.Tensor) -> None:
    made = posed(portrait, torch.zeros(2, 4, 3))
    assert torch.allclose(made, portrait.unsqueeze(1).expand(-1, 4, -1, -1, -1), atol=1e-5)
    little = posed(portrait, torch.full((2, 4, 3), 0.01)) - made
    assert 0 < float(little.abs().max()) < 0.05  # and hardly any turn changes hardly anything


def test_an_untrained_one_turns_nothing(portrait: torch.Tensor) -> None:
    made = PosedPortrait(PosedPortraitConfig(width=16, blocks=1), CHANNELS)(portrait, torch.ones(2, 1, 3))
    assert torch.allclose(made, portrait.unsqueeze(1), atol=1e-5)


def test_the_flow_carries_the_latent_along(posed: PosedPortrait, portrait: torch.Tensor) -> None:
    """One cell to the right for 5 degrees of yaw, and nothing painted."""
    torch.nn.init.zeros_(posed.conv_out.weight)
    torch.nn.init.zeros_(posed.flow.weight)
    assert posed.flow.bias is not None
    yaw = posed.terms.index((1,))
    posed.flow.bias[2 * yaw] = -(2 / (portrait.shape[-1] - 1)) / REACH  # where it is read: a cell to the left
    made = posed(portrait, torch.tensor([[[0.0, UNIT_DEG, 0.0]], [[0.0, 0.0, 0.0]]]))[:, 0]
    assert torch.allclose(made[0, :, :, 1:], portrait[0, :, :, :-1], atol=1e-5)
    assert torch.allclose(made[1], portrait[1], atol=1e-5)


def test_frames_and_rows_do_not_see_each_other(posed: PosedPortrait, portrait: torch.Tensor) -> None:
    pose = torch.randn(2, 3, 3) * 4
    whole = posed(portrait, pose)
    assert torch.allclose(whole[1:, 1:2], posed(portrait[1:], pose[1:, 1:2]), atol=1e-5)


def test_guidance_takes_it_away_with_the_portrait_and_shares_it_otherwise() -> None:
    turned = torch.ones(1, 2, CHANNELS, 4, 4)
    conditions = Conditions(audio_tokens=torch.ones(1, 2, 1, 3), posed_portrait=turned)
    keep = GuidanceConfig(scale=2.0, reference="keep")
    assert unconditional_conditions(conditions, keep).posed_portrait is turned
    dropped = unconditional_conditions(conditions, dataclasses.replace(keep, reference="zero")).posed_portrait
    assert dropped is not None and not dropped.any()
    reference = ReferenceCache(keys={}, values={}, motion={}, latents=torch.ones(1, CHANNELS, 4, 4))
    (both,) = guided_rows(reference, conditions, keep, scale=2.0).passes
    assert both[1].posed_portrait is turned  # one row serves both
    ((_, three),) = guided_rows(reference, conditions, keep, scale=2.0, portrait_scale=1.5).passes
    assert three.posed_portrait is not None
    assert three.posed_portrait.flatten(1).any(1).tolist() == [False, True, True]
