"""Synthetic heads: the truth that travels with the pictures is the truth of the pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("anny")

from emo_core.training.clips import ClipDataset
from emo_core.training.heads.dataset import babble, render_dataset
from emo_core.training.heads.identity import sample_identity
from emo_core.training.heads.job import HeadJob
from emo_core.training.heads.performance import (
    LIMITS_DEG,
    Performance,
    Style,
    perform,
    rotation_matrices,
    rotation_speed,
)
from emo_core.training.heads.render import HeadRenderer


@pytest.fixture(scope="module")
def renderer() -> HeadRenderer:
    return HeadRenderer(size=64)


def _still(**actions: list[float]) -> Performance:
    tracks = {k: np.array(v, np.float32) for k, v in actions.items()}
    zero = np.zeros((len(next(iter(tracks.values()))), 3), np.float32)
    return Performance(tracks, zero, zero)


def test_identity_depends_on_the_seed_only() -> None:
    assert sample_identity(5) == sample_identity(5)
    assert sample_identity(5) != sample_identity(6)


def test_every_shape_change_exists(renderer: HeadRenderer) -> None:
    known = {str(n) for n in renderer.geometry.shape_names}
    assert set(sample_identity(0).shapes) <= known


def test_template_is_symmetric(renderer: HeadRenderer) -> None:
    template = renderer.geometry.template
    assert abs(template[:, 0].mean()) < 1e-4
    assert template[:, 0].max() == pytest.approx(-template[:, 0].min(), abs=1e-3)


def test_mouth_opening_grows_with_the_jaw(renderer: HeadRenderer) -> None:
    jaw = np.linspace(0, 0.8, 9)
    for seed in (0, 1, 2):
        clip = renderer.render(sample_identity(seed), _still(jawOpen=list(jaw)))
        assert clip.mouth_open[0] < 0.6
        assert np.corrcoef(clip.mouth_open, jaw)[0, 1] > 0.97
        assert clip.mouth_open[-1] > 8


def test_only_the_mouth_box_changes_when_the_mouth_moves(renderer: HeadRenderer) -> None:
    clip = renderer.render(sample_identity(3), _still(jawOpen=[0.0, 0.5]))
    difference = np.abs(clip.frames[1].astype(int) - clip.frames[0]).sum(-1)
    left, top, right, bottom = clip.mouth_box.min(0)[0], clip.mouth_box.min(0)[1], *clip.mouth_box.max(0)[2:]
    inside = difference[int(top) : int(bottom) + 1, int(left) : int(right) + 1].sum()
    assert inside > 0.6 * difference.sum()
    assert difference[:20].sum() == 0  # forehead and hair stand still


def test_boxes_are_nested_and_ordered(renderer: HeadRenderer) -> None:
    clip = renderer.render(sample_identity(8), _still(jawOpen=[0.2]))
    face, mouth, eyes = clip.face_box[0], clip.mouth_box[0], clip.eye_box[0]
    assert 0.55 * 64 < face[3] - face[1] < 0.75 * 64
    assert mouth[2] - mouth[0] >= 11  # 22 pixels of 128
    assert eyes[3] < mouth[1]
    assert face[0] < mouth[0] < mouth[2] < face[2]


@pytest.mark.parametrize("speed", [0.1, 0.7, 1.3, 2.0])
def test_head_turns_at_the_speed_asked_for(speed: float) -> None:
    done = perform({}, np.zeros(250), fps=25, seed=4, style="talking", speed=speed)
    measured = rotation_speed(done.rotation_deg)
    assert measured.mean() == pytest.approx(speed, rel=0.1, abs=0.02)
    assert np.all(np.abs(done.rotation_deg).max(0) <= LIMITS_DEG + 1)
    power = np.abs(np.fft.rfft(done.rotation_deg * np.hanning(250)[:, None], axis=0)) ** 2
    hertz = np.fft.rfftfreq(250, 1 / 25)
    assert power[hertz > 7].sum() < 0.01 * power[hertz > 0.2].sum()  # smooth


@pytest.mark.parametrize("speed", [0.1, 0.7, 2.0])
def test_head_sets_off_from_how_it_is_held(speed: float) -> None:
    held = (1.0, -4.0, 2.0)
    done = perform({}, np.zeros(50), fps=25, seed=4, style="talking", speed=speed, rest_deg=held)
    assert done.rotation_deg[0] == pytest.approx(held, abs=0.3)  # breath moves it a little
    assert np.all(np.abs(done.rotation_deg - held).max(0) <= LIMITS_DEG + 0.3)


def test_at_one_speed_some_heads_swing_wider_than_others() -> None:
    turned = [
        np.ptp(perform({}, np.zeros(200), fps=25, seed=seed, style="talking", speed=0.7).rotation_deg[:, 1])
        for seed in range(12)
    ]
    assert max(turned) > 1.5 * min(turned)


def test_turning_heads_are_in_any_pose_within_the_limits_after_their_first_frame() -> None:
    performance = perform({}, np.zeros(400, np.float32), fps=25, seed=3, style="turning", rest_deg=(1.0, 2.0, -1.0))
    away = performance.rotation_deg - performance.rotation_deg[0]
    assert np.abs(performance.rotation_deg[0] - (1.0, 2.0, -1.0)).max() < 0.2
    assert (np.abs(away).max(0) < LIMITS_DEG * 1.05 + 0.4).all()  # breathing adds a little
    assert (np.abs(away) > LIMITS_DEG * 0.8).all(1).sum() > 2  # corners too: 400 * 0.24 ** 3
    assert float(np.abs(performance.actions["browInnerUp"]).max()) == 0.0  # nothing but the pose changes


@pytest.mark.parametrize("style", ["still", "talking", "singing"])
def test_brows_rise_with_what_the_voice_stresses(style: Style) -> None:
    loudness = np.where(np.arange(300) % 50 < 12, 0.95, 0.5).astype(np.float32)
    brows = perform({}, loudness, fps=25, seed=5, style=style).actions["browInnerUp"]
    stressed, between = brows[np.arange(300) % 50 == 6], brows[np.arange(300) % 50 == 32]
    assert stressed.min() > between.max() + 0.2
    assert np.corrcoef(brows, loudness)[0, 1] > 0.8


def test_still_heads_hardly_turn() -> None:
    done = perform({}, np.zeros(100), fps=25, seed=1, style="still")
    assert rotation_speed(done.rotation_deg).mean() < 0.05


def test_rotation_speed_is_the_angle_between_frames() -> None:
    yaw = np.stack([np.zeros(5), np.arange(5) * 1.5, np.zeros(5)], 1)
    assert rotation_speed(yaw) == pytest.approx(np.full(5, 1.5), abs=1e-4)
    assert rotation_matrices(yaw) @ rotation_matrices(yaw).transpose(0, 2, 1) == pytest.approx(
        np.tile(np.eye(3), (5, 1, 1))
    )


def test_data_set_is_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    mouth, loudness = babble(6, fps=25, seed=0)
    jobs = [
        HeadJob(i, "talking", 0.5, mouth if i else None, loudness, f"u{i}", "train" if i else "test") for i in (2, 0, 1)
    ]
    for name, workers in (("a", 1), ("b", 2)):
        render_dataset(tmp_path / name, jobs, size=32, workers=workers, clips_per_shard=2)
    one, two = ClipDataset(tmp_path / "a"), ClipDataset(tmp_path / "b")
    assert one.clips == two.clips
    assert len(ClipDataset(tmp_path / "a", split="test")) == 1
    for i in range(3):
        assert np.array_equal(one[i].frames, two[i].frames)
        assert np.array_equal(one[i].mouth_box, two[i].mouth_box)
    assert json.loads((tmp_path / "a" / "clips.json").read_text())[0]["frames"] == 6


@pytest.mark.parametrize("frames", [1, 3])
def test_a_face_without_any_action_is_at_rest(renderer: HeadRenderer, frames: int) -> None:
    zero = np.zeros((frames, 3), np.float32)
    clip = renderer.render(sample_identity(3), Performance({}, zero, zero))
    calm = renderer.render(sample_identity(3), _still(jawOpen=[0.0] * frames))
    assert np.array_equal(clip.frames, calm.frames) and np.array_equal(clip.face_box, calm.face_box)
    assert clip.jaw.shape == clip.mouth_open.shape == (frames,) and clip.jaw.max() == 0 and clip.mouth_open.max() < 1
