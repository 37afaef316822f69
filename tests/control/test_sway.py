"""control/sway: a path at the speed asked for, inside its reach, the same whenever it is drawn."""

from __future__ import annotations

import pytest
import torch

from emo_core.control.sway import REACH_DEG, head_sway, own_pace, room_in
from emo_core.training.heads.performance import rotation_speed


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("speed", [0.1, 0.7, 1.3, 1.9])
@pytest.mark.parametrize("frames", [56, 750])
def test_the_speed_holds(speed: float, frames: int) -> None:
    pose = head_sway(torch.full((frames,), speed), generator=chance(3))
    measured = rotation_speed(pose.numpy())[1:]
    assert float(measured.mean()) == pytest.approx(speed, rel=0.03)
    assert float(measured.std()) < 0.25 * speed
    assert bool((pose.abs().amax(0) <= torch.tensor(REACH_DEG) * 1.01).all())
    assert not pose[0].any()  # a video starts at its portrait's pose


def test_a_head_of_its_own_pace_moves_with_the_stress_and_rests_between() -> None:
    stress = (torch.arange(5000) % 40 < 12).float()
    pace = own_pace(stress, fps=25.0, mean=0.6, generator=chance(1))
    assert pace.shape == (5000,)
    assert 0.45 < float(pace.mean()) < 0.6  # what is above 2.2 is cut
    assert float(pace[torch.arange(5000) % 40 == 26].max()) < 0.1
    assert float(pace[torch.arange(5000) % 40 == 6].mean()) > 1.0
    assert (
        float(pace.max()) < 2.21 and float(pace.diff().abs().max()) < 1.1
    )  # from 0 to 1 at once; voices stay below 0.7
    assert torch.equal(pace, own_pace(stress, fps=25.0, mean=0.6, generator=chance(1)))


def test_through_silence_a_head_of_its_own_pace_hardly_moves() -> None:
    assert float(own_pace(torch.zeros(100), fps=25.0, mean=0.6, generator=chance(1)).max()) < 0.1


def test_no_speed_is_no_movement() -> None:
    assert not head_sway(torch.zeros(20), generator=chance(0)).any()
    assert head_sway(torch.ones(1), generator=chance(0)).shape == (1, 3)


def test_a_curve_is_followed() -> None:
    curve = torch.cat([torch.full((200,), 0.1), torch.full((200,), 1.0)])
    measured = rotation_speed(head_sway(curve, generator=chance(1)).numpy())
    assert float(measured[1:200].mean()) == pytest.approx(0.1, rel=0.25)
    assert float(measured[200:].mean()) == pytest.approx(1.0, rel=0.25)


def test_seeds_turn_elsewhere_and_one_seed_the_same_way() -> None:
    speed = torch.full((100,), 0.5)
    assert torch.equal(head_sway(speed, generator=chance(5)), head_sway(speed, generator=chance(5)))
    assert not torch.allclose(head_sway(speed, generator=chance(5)), head_sway(speed, generator=chance(6)), atol=0.5)


def test_a_wider_region_turns_the_head_farther_and_a_taller_one_nods_it() -> None:
    def travel(room: tuple[float, float]) -> list[float]:
        pose = head_sway(torch.full((400,), 0.6), generator=chance(2), room=room)
        return (pose.amax(0) - pose.amin(0)).tolist()

    pitch, yaw, _ = travel((1.0, 1.0))
    assert travel((0.7, 1.0))[1] < 0.7 * yaw
    assert travel((1.0, 0.7))[0] < 0.7 * pitch
    wide = travel((1.5, 1.0))
    assert wide[1] > 1.05 * yaw and wide[0] == pytest.approx(pitch, rel=0.1)
    assert travel((9.0, 9.0))[1] <= 2 * REACH_DEG[1] * 1.16  # never far beyond what was trained


def test_room_is_measured_against_the_portraits_own_region() -> None:
    own = torch.zeros(10, 10)
    own[2:6, 3:7] = 1
    wide = torch.zeros(10, 10)
    wide[2:6, 1:9] = 1
    assert room_in(own, own) == (1.0, 1.0)
    assert room_in(wide[None], own) == (2.0, 1.0)
    assert room_in(torch.stack([own, wide]).unsqueeze(1), own) == (2.0, 1.0)
    assert room_in(torch.zeros(10, 10), own) == (1.0, 1.0)
