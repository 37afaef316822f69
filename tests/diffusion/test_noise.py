"""A clip's noise depends on the seed and the clip alone, and keeps unit variance however much of it is shared."""

from __future__ import annotations

import pytest
import torch

from emo_core.diffusion.noise import clip_noise, mix_noise
from emo_core.errors import EmoInputError

SHAPE = (6, 4, 16, 16)


def test_a_clips_noise_depends_on_nothing_else() -> None:
    first = clip_noise(7, 3, SHAPE, 0.5)
    torch.manual_seed(0)
    torch.randn(100)
    assert torch.equal(first, clip_noise(7, 3, SHAPE, 0.5))
    assert not torch.equal(first, clip_noise(7, 4, SHAPE, 0.5))
    assert not torch.equal(first, clip_noise(8, 3, SHAPE, 0.5))


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    clip_noise(1, 0, SHAPE, 0.5)
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_frames_share_the_asked_part_of_the_variance(share: float) -> None:
    here, later = clip_noise(7, 0, (6, 4, 64, 64), share), clip_noise(7, 9, (6, 4, 64, 64), share)
    assert abs(float(here.var()) - 1.0) < 0.05
    assert abs(float((here[0] * here[1]).mean()) - share) < 0.05
    assert abs(float((here[0] * later[5]).mean()) - share) < 0.05


def test_the_largest_seed_works() -> None:
    assert clip_noise(2**64 - 1, 0, SHAPE).isfinite().all()


def test_mixing_refuses_an_impossible_share() -> None:
    with pytest.raises(EmoInputError, match="0 to 1"):
        mix_noise(torch.zeros(1), torch.zeros(1), 1.5)
