"""Picture measures on pictures whose answer is known."""

import numpy as np
import pytest

from emo_core.evaluation.pictures import (
    areas,
    colour_drift,
    colour_shift,
    flicker_ratio,
    frame_differences,
    psnr,
    seam_ratio,
    still_mask,
)


def noise(frames: int, amount: float, seed: int = 0) -> np.ndarray:
    return 128 + amount * np.random.default_rng(seed).normal(size=(frames, 12, 16, 3))


def test_a_jump_at_the_border_is_a_seam():
    frames = np.zeros((12, 4, 4, 3)) + np.arange(12)[:, None, None, None]
    assert seam_ratio(frames, [4, 8]) == pytest.approx(1.0)
    frames[4:] += 2
    frames[8:] += 2
    assert seam_ratio(frames, [4, 8]) == pytest.approx(3.0)
    assert np.isnan(seam_ratio(frames, []))


def test_flicker_counts_only_still_pixels():
    truth, generated = noise(10, 1.0), noise(10, 1.0)
    boxes = np.tile([[4.0, 3.0, 9.0, 8.0]], (10, 1))
    where = still_mask((12, 16), boxes, grow=0)
    assert where.sum() == 12 * 16 - 25
    generated[:, 3:8, 4:9] += 50 * np.random.default_rng(5).normal(size=(10, 5, 5, 3))
    assert flicker_ratio(generated, truth, where) == pytest.approx(1.0)
    assert flicker_ratio(128 + 3 * (truth - 128), truth, where) == pytest.approx(3.0, rel=1e-3)


def test_still_mask_covers_every_frames_box():
    boxes = np.array([[0.0, 0.0, 4.0, 4.0], [8.0, 4.0, 12.0, 8.0]])
    where = still_mask((12, 16), boxes, grow=1)
    assert not where[2, 2] and not where[6, 10] and where[10, 14]


def test_colour_drift_is_the_largest_change_of_a_channel():
    frames = np.full((40, 4, 4, 3), 100.0)
    frames[20:30, ..., 1] += 1.5
    frames[30:, ..., 2] -= 3
    assert colour_drift(frames, 10) == pytest.approx(3.0)
    assert colour_drift(frames[:20], 10) == 0.0


def test_colour_shift_sees_colour_and_no_flicker():
    truth = np.full((40, 6, 6, 3), 100.0)
    flickering = truth + np.where(np.arange(40) % 2, 5, -5)[:, None, None, None]
    assert colour_shift(flickering, truth[:7]) == pytest.approx(0.0, abs=1e-4)
    assert colour_shift(truth + np.array([3.0, -3.0, 3.0]), truth) == pytest.approx(3.0)


def test_colours_of_areas_are_colours_where_an_edge_is_a_pixel_away():
    edges = np.zeros((3, 33, 64, 3), np.uint8)
    edges[:, :, 3::4] = 200
    elsewhere = np.roll(edges, 1, axis=2)
    assert areas(edges, 8).shape == (3, 8, 8, 3)
    assert colour_shift(elsewhere, edges) > 100
    assert colour_shift(areas(elsewhere, 8), areas(edges, 8)) < 1
    assert colour_shift(areas(edges + 10, 8), areas(edges, 8)) == pytest.approx(10)


def test_psnr_of_a_known_error_and_inside_a_box():
    truth = np.full((3, 12, 16, 3), 100, np.uint8)
    assert psnr(truth + 1, truth) == pytest.approx(48.13, abs=0.01)
    other = truth.copy()
    other[:, 2:6, 2:6] = 110
    box = np.tile([[2.0, 2.0, 6.0, 6.0]], (3, 1))
    assert psnr(other, truth, box) == pytest.approx(28.13, abs=0.01)
    assert psnr(other, truth) > psnr(other, truth, box)


def test_differences_of_uint8_frames_do_not_wrap():
    frames = np.array([10, 250, 10], np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    assert frame_differences(frames).tolist() == [240.0, 240.0]
