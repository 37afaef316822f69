"""models/posed_portrait: no turn changes nothing, the pose enters as a polynomial or carries the latent along, and
guidance takes it away with the portrait."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest
import torch

from emo_core.config import GuidanceConfig, PosedPortraitConfig
from emo_core.data import Conditions, ReferenceCache
from emo_core.diffusion.guidance import guided_rows, unconditional_conditions
from emo_core.models.posed_portrait import REACH, UNIT_DEG, PosedPortrait, WarpedPortrait, turner

CHANNELS = 3


@pytest.fixture
def posed() -> PosedPortrait:
    torch.manual_seed(0)
    network = PosedPortrait(PosedPortraitConfig(width=16, blocks=1, degree=2), CHANNELS)
    torch.nn.init.normal_(network.conv_out.weight, std=0.1)
    return network.requires_grad_(False)


@pytest.fixture
def warped() -> WarpedPortrait:
    torch.manual_seed(0)
    network = WarpedPortrait(PosedPortraitConfig(width=16, blocks=1, degree=2, kind="warped"), CHANNELS)
    for layer in (network.conv_out, network.flow):
        torch.nn.init.normal_(layer.weight, std=0.1)
    return network.requires_grad_(False)


@pytest.fixture(params=["posed", "warped"])
def either(request: pytest.FixtureRequest) -> PosedPortrait | WarpedPortrait:
    network: PosedPortrait | WarpedPortrait = request.getfixturevalue(request.param)
    return network


@pytest.fixture
def portrait() -> torch.Tensor:
    return torch.randn(2, CHANNELS, 6, 5, generator=torch.Generator().manual_seed(1))


def test_no_turn_leaves_the_portrait(either: PosedPortrait | WarpedPortrait, portrait: torch.Tensor) -> None:
    made = either(portrait, torch.zeros(2, 4, 3))
    assert torch.allclose(made, portrait.unsqueeze(1).expand(-1, 4, -1, -1, -1), atol=1e-5)
    little = either(portrait, torch.full((2, 4, 3), 0.01)) - made
    assert 0 < float(little.abs().max()) < 0.05  # and hardly any turn changes hardly anything


@pytest.mark.parametrize("kind", ["polynomial", "warped"])
def test_an_untrained_one_turns_nothing(kind: Literal["polynomial", "warped"], portrait: torch.Tensor) -> None:
    made = turner(PosedPortraitConfig(width=16, blocks=1, kind=kind), CHANNELS)(portrait, torch.ones(2, 1, 3))
    assert torch.allclose(made, portrait.unsqueeze(1), atol=1e-5)


def test_the_flow_carries_the_latent_along(warped: WarpedPortrait, portrait: torch.Tensor) -> None:
    """One cell to the right for 5 degrees of yaw, and nothing painted."""
    torch.nn.init.zeros_(warped.conv_out.weight)
    torch.nn.init.zeros_(warped.flow.weight)
    assert warped.flow.bias is not None
    yaw = warped.terms.index((1,))
    warped.flow.bias[2 * yaw] = -(2 / (portrait.shape[-1] - 1)) / REACH  # where it is read: a cell to the left
    made = warped(portrait, torch.tensor([[[0.0, UNIT_DEG, 0.0]], [[0.0, 0.0, 0.0]]]))[:, 0]
    assert torch.allclose(made[0, :, :, 1:], portrait[0, :, :, :-1], atol=1e-5)
    assert torch.allclose(made[1], portrait[1], atol=1e-5)


def test_each_power_of_the_pose_has_its_map(posed: PosedPortrait, portrait: torch.Tensor) -> None:
    assert posed.terms == [(0,), (1,), (2,), (0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    maps = posed.coefficients(portrait)
    pose = torch.tensor([[[2.0, -3.0, 1.0]]]).expand(2, 1, 3)
    x, y, z = (pose[0, 0] / UNIT_DEG).tolist()
    powers = [x, y, z, x * x, x * y, x * z, y * y, y * z, z * z]
    expected = portrait + sum(power * maps[:, i] for i, power in enumerate(powers))
    assert torch.allclose(posed(portrait, pose)[:, 0], expected, atol=1e-5)


def test_frames_and_rows_do_not_see_each_other(either: PosedPortrait | WarpedPortrait, portrait: torch.Tensor) -> None:
    pose = torch.randn(2, 3, 3) * 4
    whole = either(portrait, pose)
    assert torch.allclose(whole[1:, 1:2], either(portrait[1:], pose[1:, 1:2]), atol=1e-5)


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
