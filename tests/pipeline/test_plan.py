"""Every frame of the video in one clip, whatever the clips' length."""

from __future__ import annotations

import pytest
import torch

from emo_core.errors import EmoInputError
from emo_core.pipeline.plan import clip_count, plan_clip, take


@pytest.mark.parametrize("frames", [1, 2, 12])
@pytest.mark.parametrize("total", [1, 2, 11, 12, 13, 100])
def test_clips_cover_every_frame_once(total: int, frames: int) -> None:
    plans = [plan_clip(i, total, frames) for i in range(clip_count(total, frames))]
    assert [f for p in plans for f in range(p.start, p.start + p.kept)] == list(range(total))
    assert all(p.frames == frames and p.clips == len(plans) for p in plans)
    assert [p.is_last for p in plans] == [False] * (len(plans) - 1) + [True]


def test_the_last_clip_is_padded_inside_with_its_last_value() -> None:
    values = torch.arange(10.0)
    assert take(values, plan_clip(1, 10, 4)).tolist() == [4, 5, 6, 7]
    assert take(values, plan_clip(2, 10, 4)).tolist() == [8, 9, 9, 9]


def test_a_clip_past_the_end_is_refused() -> None:
    with pytest.raises(EmoInputError, match="0 to 2"):
        plan_clip(3, 10, 4)


def test_past_the_end_comes_the_tail_and_then_its_last_value() -> None:
    values, plan = torch.arange(6.0), plan_clip(1, 6, 5)
    assert take(values, plan).tolist() == [5, 5, 5, 5, 5]
    assert take(values, plan, torch.tensor([7.0, 8.0])).tolist() == [5, 7, 8, 8, 8]
    assert take(values, plan, torch.arange(10.0, 20)).tolist() == [5, 10, 11, 12, 13]
    assert take(values, plan_clip(0, 6, 5), torch.tensor([7.0])).tolist() == [0, 1, 2, 3, 4]
