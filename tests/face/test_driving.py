"""Head speed from a driving video: per second, at the right times, refused where there is no head."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch

from emo_core.errors import EmoInputError
from emo_core.face import driving
from emo_core.face.detect import Face


def turning(frames: int, degrees: float) -> torch.Tensor:
    """A rigid cloud of points (frames, 468, 3) that turns by so much per frame."""
    points = torch.randn(468, 3, generator=torch.Generator().manual_seed(0)) * 40
    angles = torch.deg2rad(torch.arange(frames) * degrees)
    cos, sin = angles.cos(), angles.sin()
    turn = torch.zeros(frames, 3, 3)
    turn[:, 0, 0], turn[:, 0, 2], turn[:, 1, 1], turn[:, 2, 0], turn[:, 2, 2] = cos, sin, 1, -sin, cos
    return points @ turn.transpose(1, 2)


def followed(monkeypatch: pytest.MonkeyPatch, landmarks: torch.Tensor, lost: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    def track(frames: object) -> list[Face | None]:
        count = len(list(frames))  # type: ignore[call-overload]
        corners = (0.0, 0.0, 1.0, 1.0)
        made = [
            Face(corners, 1.0, torch.zeros(6, 2), landmarks[i], 1.0) if i not in lost else None for i in range(count)
        ]
        return made

    monkeypatch.setattr(driving, "track_face", track)


def test_a_steady_turn_is_a_steady_speed_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    followed(monkeypatch, turning(40, 0.8))
    keys = driving.speed_from_video(torch.zeros(40, 2, 2, 3), 30.0)
    assert keys.per_second and len(keys.points) == 41
    times, values = zip(*keys.points, strict=True)
    assert times[10] == pytest.approx(10 / 30)
    assert values[20] == pytest.approx(0.8 * 30, rel=0.02) and values[-1] == pytest.approx(sum(values[:-1]) / 40)


def test_a_face_that_is_lost_for_a_moment_does_not_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    followed(monkeypatch, turning(60, 0.5), lost=set(range(25, 30)))
    speeds = [value for _, value in driving.speed_from_video(torch.zeros(60, 2, 2, 3), 1.0).points]
    assert len(speeds) == 61 and max(speeds) < 0.6


def test_a_video_without_a_head_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    followed(monkeypatch, turning(10, 1.0), lost=set(range(2, 10)))
    with pytest.raises(EmoInputError, match="a face in 2 of 10 frames"):
        driving.speed_from_video(torch.zeros(10, 2, 2, 3), 25.0)
    with pytest.raises(EmoInputError, match="driving_fps"):
        driving.speed_from_video(torch.zeros(10, 2, 2, 3), 0.0)


def test_frames_of_any_channels_are_followed_as_a_portrait_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As graphs hand them on: with alpha, grey, in half precision."""
    seen: list[torch.Tensor] = []

    def track(frames: Iterable[torch.Tensor]) -> list[Face | None]:
        seen.extend(frames)
        return [None] * len(seen)

    monkeypatch.setattr(driving, "track_face", track)
    colours, alpha = torch.rand(8, 8, 3), torch.ones(8, 8, 1)
    alpha[:4] = 0
    given = [colours, torch.cat([colours, alpha], -1), colours[..., :1], colours.half()]
    with pytest.raises(EmoInputError, match="a face in 0 of 4 frames"):
        driving.speed_from_video(given, 25.0)
    assert all(frame.shape == (8, 8, 3) and frame.dtype == torch.float32 for frame in seen)
    assert torch.equal(seen[0], colours) and torch.equal(seen[1][4:], colours[4:]) and (seen[1][:4] == 0.5).all()
    assert torch.equal(seen[2][..., 2], colours[..., 0])
    for shape in ((8, 8, 2), (8, 8)):
        with pytest.raises(EmoInputError, match=r"driving_video: found a tensor of shape \(8, 8"):
            driving.speed_from_video([torch.zeros(shape)], 25.0)


def test_every_frame_counts_at_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that stood still for three seconds, in which no frame was written, has no slow movement for that."""
    followed(monkeypatch, turning(20, 0.5))
    times = [index / 30 + (3.0 if index >= 10 else 0.0) for index in range(20)]
    keys = driving.speed_from_timed((time, torch.zeros(2, 2, 3)) for time in times)
    speeds = dict(keys.points[:-1])
    turned = [speed for time, speed in speeds.items() if 0.07 < time < 0.2 or 3.4 < time < 3.55]
    stood = [speed for time, speed in speeds.items() if 0.5 < time < 3.1]
    assert turned == pytest.approx([15.0] * len(turned), rel=0.02) and max(stood) < 0.3
    assert keys.points[-1][0] == pytest.approx(times[-1] + 1 / 30)


@pytest.mark.parametrize("fps", [10.0, 29.97, 240.13, 300.0, 960.0])
def test_frames_of_any_rate_are_followed(monkeypatch: pytest.MonkeyPatch, fps: float) -> None:
    """Of slow motion some are left out; times in whole milliseconds, as of Matroska, are no rate of their own."""
    looked_at: list[torch.Tensor] = []

    def track(frames: Iterable[torch.Tensor]) -> list[Face | None]:
        looked_at.extend(frames)
        angles = [round(float(frame[0, 0, 0]) * 1000) for frame in looked_at]
        points = turning(max(angles) + 1, 30.0 / fps)[angles]  # thirty degrees a second
        return [Face((0.0, 0.0, 1.0, 1.0), 1.0, torch.zeros(6, 2), landmarks, 1.0) for landmarks in points]

    monkeypatch.setattr(driving, "track_face", track)
    count = round(fps)
    frames = ((round(index / fps, 3), torch.full((2, 2, 3), index / 1000)) for index in range(count))
    keys = driving.speed_from_timed(frames)
    assert len(looked_at) == count if fps < 250 else 120 <= len(looked_at) <= 267
    assert keys.points[len(keys.points) // 2][1] == pytest.approx(30.0, rel=0.1)
    assert keys.points[-2][0] == pytest.approx(1, abs=0.11)


def test_more_than_can_be_looked_at_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(driving, "MAX_DRIVING_FRAMES", 20)
    followed(monkeypatch, turning(20, 0.5))
    frames = ((index / 25 + (1e4 if index > 15 else 0.0), torch.zeros(2, 2, 3)) for index in range(1000))
    assert len(driving.speed_from_timed(frames).points) == 21
    assert "of 10001 s only the first 1 s (20 frames) are followed" in caplog.text


@pytest.mark.parametrize("count", [20, 50])
def test_where_a_long_video_is_left_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """Seen: all behind the 9000th frame was left out without a word."""
    monkeypatch.setattr(driving, "MAX_DRIVING_FRAMES", 20)
    followed(monkeypatch, turning(20, 0.5))
    driving.speed_from_video(torch.zeros(count, 2, 2, 3), 10.0, length_s=count / 10)
    driving.speed_from_timed((index / 10, torch.zeros(2, 2, 3)) for index in range(count))
    if count == 20:
        assert not caplog.text
        return
    left = "only the first 2 s (20 frames) are followed, then their mean holds ("
    assert f"of {count / 10:.0f} s {left}" in caplog.text
    assert f"of a longer time {left}" in caplog.text
