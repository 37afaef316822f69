"""Overlapping windows: EchoMimic's own list of them, every frame covered, whole videos through generate."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from awake_model import sound

from emo_core.config import WindowConfig
from emo_core.data import ReferenceCache
from emo_core.models.emo import EmoModel
from emo_core.pipeline.generate import generate
from emo_core.pipeline.windows import context_windows

ECHOMIMIC = WindowConfig()


def test_windows_of_fifty_frames_are_echomimics_own() -> None:
    """Golden: meta.json of echomimic_step, context_windows_50_frames."""
    windows = list(context_windows(0, 50, 12, config=ECHOMIMIC))
    assert [w[0] for w in windows] == [0, 9, 18, 27, 36, 45]
    assert windows[-1] == [45, 46, 47, 48, 49, 0, 1, 2, 3, 4, 5, 6]
    assert next(context_windows(3, 50, 12, config=ECHOMIMIC)) == list(range(6, 18))


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("total", [1, 11, 12, 13, 20, 21, 30, 47])
def test_every_frame_is_in_a_window_and_none_twice_in_one(total: int, closed: bool) -> None:
    config = WindowConfig(overlap=4, closed=closed, shift_per_step=0 if not closed else 2)
    for step in range(3):
        windows = list(context_windows(step, total, 12, config=config))
        assert {frame for window in windows for frame in window} == set(range(total))
        assert all(len(set(window)) == len(window) == min(12, total) for window in windows)


def test_a_video_in_windows_has_all_frames_and_can_be_resumed(model: EmoModel, reference: ReferenceCache) -> None:
    clip = dataclasses.replace(model.config.clip, motion_frames=0, windows=WindowConfig(overlap=2, shift_per_step=1))
    before = model.config
    model.config = dataclasses.replace(model.config, clip=clip)
    try:
        clips = list(generate(model, reference, sound(6)))
        assert [len(c.frames) for c in clips] == [4, 2]
        rest = list(generate(model, reference, sound(6), resume=clips[0].state))
        assert len(rest) == 1 and torch.equal(rest[0].frames, clips[1].frames)
    finally:
        model.config = before
