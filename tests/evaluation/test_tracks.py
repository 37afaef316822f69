"""Correlation and lag on signals whose answer is known."""

import numpy as np
import pytest

from emo_core.evaluation.tracks import correlation, lagged, motion, rising_share, sync


def wave(n: int = 80, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=n + 8)
    return np.convolve(noise, np.ones(4) / 4, "same")[4:-4]


@pytest.mark.parametrize("late", [-3, -1, 0, 1, 4])
def test_a_shifted_track_is_found_at_its_shift(late):
    long = wave(120)
    truth, generated = long[20:100], long[20 - late : 100 - late]
    found = sync([generated], [truth])
    assert found.lag == late
    assert found.r_best == pytest.approx(1.0)
    assert (found.r < 0.9) == (late != 0)


def test_correlation_ignores_each_clips_own_level_and_scale_in_common():
    a, b = wave(seed=1), wave(seed=2)
    assert correlation([3 * a + 100, 3 * b - 50], [a, b]) == pytest.approx(1.0)
    assert correlation([-a], [a]) == pytest.approx(-1.0)


def test_unrelated_tracks_do_not_correlate():
    pairs = [(wave(400, seed), wave(400, seed + 100)) for seed in range(20)]
    assert abs(correlation([g for g, _ in pairs], [t for _, t in pairs])) < 0.05


def test_a_mouth_that_never_moves_correlates_with_nothing():
    found = sync([np.full(80, 0.3)], [wave()])
    assert found.r == 0.0 and found.lag == 0
    assert motion([np.full(80, 0.3)]) == pytest.approx(0.0)


def test_tracks_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="80 and 79"):
        correlation([wave()], [wave()[:-1]])


def test_lagged_parts_have_one_length():
    for lag in range(-5, 6):
        g, t = lagged(np.arange(20), np.arange(20), lag)
        assert len(g) == len(t) == 20 - abs(lag)
        assert (g - t == lag).all()


def test_motion_is_pooled_within_clips():
    a = np.array([1.0, -1.0] * 10)
    assert motion([a + 5, a - 5]) == pytest.approx(1.0)


def test_rising_share_counts_steps_up_and_no_ties():
    assert rising_share([0.2, 0.21, 0.5, 3.0]) == 1.0
    assert rising_share([0.2, 0.2, 0.2, 0.2]) == 0.0
    assert rising_share([1.0, 2.0, 1.5, 1.2]) == pytest.approx(1 / 3)
