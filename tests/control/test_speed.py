"""Speed over time: constants, curves, clips that reach past the end of the video."""

from __future__ import annotations

import pytest
import torch

from emo_core.control.speed import clip_speed, parse_curve, resample_curve
from emo_core.errors import EmoInputError


def test_one_value_holds_for_every_frame() -> None:
    speed = clip_speed(0.7, 12, 4, total=100)
    assert speed is not None and torch.equal(speed, torch.full((4,), 0.7))


def test_no_speed_is_no_condition() -> None:
    assert clip_speed(None, 0, 4, total=4) is None


def test_a_curve_is_read_at_the_clips_place_and_held_past_the_end() -> None:
    curve = [0.1 * i for i in range(10)]
    speed = clip_speed(curve, 8, 4, total=10)
    assert speed is not None
    torch.testing.assert_close(speed, torch.tensor([0.8, 0.9, 0.9, 0.9]))


def test_a_curve_of_another_length_is_refused_with_both_numbers() -> None:
    with pytest.raises(EmoInputError, match=r"3 values.*10 values"):
        clip_speed([0.1, 0.2, 0.3], 0, 4, total=10)


def test_a_drawn_curve_is_stretched_over_the_video() -> None:
    assert resample_curve([0.0, 1.0], 5) == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
    assert resample_curve([0.5], 3) == [0.5, 0.5, 0.5]
    with pytest.raises(EmoInputError):
        resample_curve([], 3)


def test_a_typed_curve_is_read() -> None:
    assert parse_curve("0.2, 0.5;1\n2,") == (0.2, 0.5, 1.0, 2.0)
    with pytest.raises(EmoInputError, match=r"curve: found '0\.2, fast'"):
        parse_curve("0.2, fast")
