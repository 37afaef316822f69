"""Speed over time: constants, curves, clips that reach past the end of the video."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from emo_core.control.speed import (
    clip_speed,
    keyframe_curve,
    parse_curve,
    parse_speed,
    resample_curve,
    speed_per_frame,
    stretch_speed,
)
from emo_core.data import Controls, SpeedKeys, VoiceSpeed, Waveform
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
    with pytest.raises(EmoInputError, match=r"speed: found '0\.2, fast'"):
        parse_curve("0.2, fast")


def test_keyframes_are_joined_by_straight_lines_in_time_and_their_ends_held() -> None:
    keys = parse_speed("0.2:0.3, 1.0:1.1; 2:0.1")
    assert keys == SpeedKeys(((0.2, 0.3), (1.0, 1.1), (2.0, 0.1)))
    curve = keyframe_curve(keys, 30, 10)
    assert curve[:3] == pytest.approx([0.3] * 3) and curve[20:] == pytest.approx([0.1] * 10)
    assert curve[6] == pytest.approx(0.7) and curve[15] == pytest.approx(0.6)
    assert curve == pytest.approx(keyframe_curve(keys, 300, 100)[::10])  # the frame rate moves no keyframe


def test_speed_per_second_is_shared_among_the_frames() -> None:
    keys = SpeedKeys(((0.0, 30.0),), per_second=True)
    assert keyframe_curve(keys, 2, 25) == pytest.approx([1.2, 1.2])
    assert keyframe_curve(keys, 2, 50) == pytest.approx([0.6, 0.6])


@pytest.mark.parametrize(
    "text", ["0:0.3, 1.0", "0:fast", "1:0.3, 0.5:1", "0:0.3, 0:1", "-1:0.5", "0:40", "", "voice:0.2", "voice:a-b"]
)
def test_what_is_no_speed_is_refused(text: str) -> None:
    with pytest.raises(EmoInputError):
        parse_speed(text)


@pytest.mark.parametrize(
    "text",
    ["nan:1", "inf:1", "0:1, inf:1", "0:nan", "nan", "0.1, inf", "voice:nan-1", "voice:0.1-inf", "voice:1-0.1", "fast"],
)
def test_what_is_no_number_or_in_the_wrong_order_is_no_speed(text: str) -> None:
    with pytest.raises(EmoInputError, match=r"^speed: found"):
        Controls(speed=parse_speed(text))


@pytest.mark.parametrize("text", ["fast", "", ",", "0.1, x"])
def test_every_form_of_a_speed_is_named(text: str) -> None:
    with pytest.raises(EmoInputError, match=r"^speed: found '.*one number, a curve .*keyframes such as .*voice"):
        parse_speed(text)


@pytest.mark.parametrize("points", [((math.nan, 1.0),), ((0.0, 1.0), (math.nan, 1.0), (2.0, 1.0)), ((0.0, math.inf),)])
@pytest.mark.parametrize("per_second", [False, True])
def test_keyframes_are_finite(points: tuple, per_second: bool) -> None:
    with pytest.raises(EmoInputError, match=r"^speed: found"):
        SpeedKeys(points, per_second=per_second)
    with pytest.raises(EmoInputError, match="degrees per second"):
        SpeedKeys(((0.0, -1.0),), per_second=True)


def test_a_typed_speed_is_one_of_four_kinds() -> None:
    assert parse_speed("0.7") == 0.7 and parse_speed("0.2, 1") == (0.2, 1.0)
    assert parse_speed("voice") == VoiceSpeed() and parse_speed(" Voice:0.2-1.5") == VoiceSpeed(0.2, 1.5)


def test_the_voices_speed_is_quiet_in_silence_and_loud_in_speech() -> None:
    loud = torch.randn(16000, generator=torch.Generator().manual_seed(0)) * 0.2
    voice = Waveform(torch.cat([torch.zeros(16000), loud, torch.zeros(16000)])[None], 16000)
    speed = speed_per_frame(VoiceSpeed(0.1, 1.3), 75, 25.0, voice)
    assert isinstance(speed, list) and len(speed) == 75
    assert speed[5] == pytest.approx(0.1) and speed[70] == pytest.approx(0.1)
    assert speed[37] == pytest.approx(1.3, abs=0.02)
    assert max(abs(a - b) for a, b in itertools.pairwise(speed)) < 0.4  # phrases, not syllables
    quieter = Waveform(voice.samples * 0.01, 16000)
    assert speed == pytest.approx(speed_per_frame(VoiceSpeed(0.1, 1.3), 75, 25.0, quieter), abs=1e-3)
    silent = Waveform(torch.zeros(1, 16000), 16000)
    assert speed_per_frame(VoiceSpeed(0.1, 1.3), 25, 25.0, silent) == pytest.approx([0.1] * 25)
    with pytest.raises(EmoInputError, match="no sound"):
        speed_per_frame(VoiceSpeed(), 10, 25.0)


def test_only_curves_are_stretched() -> None:
    assert stretch_speed((0.0, 1.0), 3) == pytest.approx([0.0, 0.5, 1.0])
    for speed in (None, 0.4, VoiceSpeed(), SpeedKeys(((0.0, 1.0),))):
        assert stretch_speed(speed, 3) is speed
