"""Nearest person and drift on vectors whose answer is known."""

import numpy as np
import pytest

from emo_core.evaluation.identity import distances, drift, nearest_share, own_and_nearest_other


def people(count: int = 5) -> np.ndarray:
    return np.eye(count, 8, dtype=np.float32)


def test_frames_of_one_person_are_nearest_to_that_person():
    bank = people()
    frames = np.repeat(bank[2:3], 10, axis=0)
    assert nearest_share(frames, bank, 2) == 1.0
    assert nearest_share(frames, bank, 1) == 0.0
    frames[:3] = bank[4]
    assert nearest_share(frames, bank, 2) == pytest.approx(0.7)


def test_own_and_nearest_other_distance():
    bank = people()
    between = (bank[0] * 0.8 + bank[3] * 0.6)[None]
    own, other = own_and_nearest_other(between, bank, 0)
    assert own == pytest.approx(0.2, abs=1e-6) and other == pytest.approx(0.4, abs=1e-6)
    assert distances(bank, bank).diagonal().tolist() == [0.0] * 5


def test_drift_is_zero_for_one_person_and_one_for_a_stranger():
    bank = people()
    same = np.repeat(bank[:1], 20, axis=0)
    assert drift(same, 5) == pytest.approx(0.0, abs=1e-6)
    same[10:] = bank[1]
    assert drift(same, 5) == pytest.approx(1.0)
