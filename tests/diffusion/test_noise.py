"""A clip's noise depends on the seed and the clip alone, and keeps unit variance whatever it is made up of."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from emo_core.config import ScheduleConfig
from emo_core.diffusion.noise import clip_noise, mix_noise, named_generator, slow_noise
from emo_core.errors import EmoInputError

SHAPE = (6, 4, 16, 16)
PLAIN = ScheduleConfig()
MADE_UP = ScheduleConfig(shared_noise=0.3, slow_noise=0.6, slow_noise_frames=8)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a * b).mean())


@pytest.mark.parametrize("config", [PLAIN, MADE_UP], ids=["paper", "made up"])
def test_a_clips_noise_depends_on_nothing_else(config: ScheduleConfig) -> None:
    first = clip_noise(7, 3, SHAPE, config)
    torch.manual_seed(0)
    torch.randn(100)
    assert torch.equal(first, clip_noise(7, 3, SHAPE, config))
    assert not torch.equal(first, clip_noise(7, 4, SHAPE, config))
    assert not torch.equal(first, clip_noise(8, 3, SHAPE, config))


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    clip_noise(1, 0, SHAPE, MADE_UP)
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_frames_share_the_asked_part_of_the_variance(share: float) -> None:
    config = ScheduleConfig(shared_noise=share)
    here, later = clip_noise(7, 0, (6, 4, 64, 64), config), clip_noise(7, 9, (6, 4, 64, 64), config)
    assert abs(float(here.var()) - 1.0) < 0.05
    assert abs(correlation(here[0], here[1]) - share) < 0.05
    assert abs(correlation(here[0], later[5]) - share) < 0.05


def test_slow_noise_turns_at_constant_variance_and_speed_across_clips() -> None:
    config = ScheduleConfig(slow_noise=1.0, slow_noise_frames=8)
    clips = torch.cat([clip_noise(7, index, (6, 4, 64, 64), config) for index in range(3)])
    for frame in clips:
        assert abs(float(frame.var()) - 1.0) < 0.05
    for before, after in itertools.pairwise(clips):  # the borders of the clips at 6 and 12 included
        assert abs(correlation(before, after) - math.cos(math.pi / 16)) < 0.05
    assert abs(correlation(clips[0], clips[8])) < 0.05


def test_slow_noise_meets_its_anchors() -> None:
    anchors = [torch.randn(2, 3, generator=named_generator(0, f"{i}")) for i in range(4)]
    turned = slow_noise(lambda number: anchors[number], first_frame=0, frames=9, interval=4)
    for number, frame in enumerate(turned[::4]):
        assert torch.allclose(frame, anchors[number], atol=1e-6)


def test_the_largest_seed_works() -> None:
    assert clip_noise(2**64 - 1, 0, SHAPE, PLAIN).isfinite().all()


@pytest.mark.parametrize(("shared", "slow"), [(1.5, 0.0), (0.6, 0.6), (-0.1, 0.0)])
def test_mixing_refuses_impossible_shares(shared: float, slow: float) -> None:
    with pytest.raises(EmoInputError, match="at most 1"):
        mix_noise(torch.zeros(1), None, None, ScheduleConfig(shared_noise=shared, slow_noise=slow))
