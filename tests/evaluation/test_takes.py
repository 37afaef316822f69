"""Takes of a tiny random model: the right number of frames, and nothing that depends on order or chance."""

import dataclasses

import numpy as np
import pytest
import torch

from emo_core.config import TINY
from emo_core.data import GenerateSettings
from emo_core.evaluation.takes import Budget, Studio, region_of
from emo_core.evaluation.truth import Case, TruthSet, TruthSpec

FRAMES, SIZE = 10, 64


def case(index: int) -> Case:
    rng = np.random.default_rng(index)
    box = np.tile(np.array([16, 12, 48, 56], np.float32), (FRAMES, 1))
    return Case(
        name=f"{index:03d}-voice-still",
        voices="voice",
        moving=False,
        frames=rng.integers(0, 255, (FRAMES, SIZE, SIZE, 3), np.uint8),
        face_box=box,
        mouth_box=box,
        eye_box=box,
        mouth_open=rng.random(FRAMES).astype(np.float32),
        jaw=rng.random(FRAMES).astype(np.float32),
        speed_deg=np.zeros(FRAMES, np.float32),
        samples=rng.uniform(-0.5, 0.5, FRAMES * 640).astype(np.float32),
        portrait=rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8),
        portrait_box=box[0],
    )


@pytest.fixture(scope="module")
def studio() -> Studio:
    from emo_core.models.emo import EmoModel

    torch.manual_seed(0)
    spec = TruthSpec(cases=2, frames=FRAMES, people=2, size=SIZE, long_frames=12)
    long_samples = np.random.default_rng(9).uniform(-0.5, 0.5, 12 * 640).astype(np.float32)
    tests = TruthSet(spec, (case(0), case(1)), np.zeros((0, SIZE, SIZE, 3), np.uint8), long_samples)
    budget = Budget(shuffled=1, silent=1, speed=1, speed_frames=4, long=1)
    return Studio(EmoModel(TINY).eval(), tests, GenerateSettings(), budget)


def test_a_take_has_as_many_frames_as_its_truth_and_knows_its_borders(studio):
    for take in studio.right:
        assert take.frames.shape == take.case.frames.shape and take.frames.dtype == np.uint8
        assert take.borders == (4, 8)  # TINY's clips have 4 frames
        assert take.heard is take.case
    assert studio.long[0].frames.shape[0] == 12 and studio.long[0].borders == (4, 8)


def test_shuffled_takes_hear_another_case_and_silent_ones_none(studio):
    (shuffled,), (silent,) = studio.shuffled, studio.silent
    assert shuffled.case is studio.tests.cases[0] and shuffled.heard is studio.tests.cases[1]
    assert silent.heard is None
    assert set(studio.at_speeds) == {None, 0.1, 0.7, 1.3, 1.9}


def test_takes_do_not_depend_on_what_was_generated_before(studio):
    fresh = Studio(studio.model, studio.tests, studio.settings, studio.budget)
    assert np.array_equal(fresh.silent[0].frames, studio.silent[0].frames)
    assert np.array_equal(fresh.right[1].frames, studio.right[1].frames)


def test_another_seed_gives_other_frames(studio):
    other = Studio(studio.model, studio.tests, dataclasses.replace(studio.settings, seed=7), studio.budget)
    assert not np.array_equal(other.right[0].frames, studio.right[0].frames)


def test_decoded_truth_has_the_truths_shape(studio):
    assert [d.shape for d in studio.decoded] == [c.frames.shape for c in studio.tests.cases]


def test_the_region_holds_every_true_face(studio):
    left, top, right, bottom = region_of(studio.tests.cases[0])
    assert 0 <= left < 16 and 0 <= top < 12 and 48 < right <= SIZE and 56 < bottom <= SIZE
