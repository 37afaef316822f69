"""How fast a head turns: the slope exactly, the bundled reader on rendered people it never saw, its fit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from emo_core.evaluation.bundled import WEIGHTS
from emo_core.evaluation.faces import FaceTrack, follow
from emo_core.evaluation.train_readers import Turning, train_turns, turn_accuracy
from emo_core.evaluation.turns import TurnReader, read_turns, speed_of_turns, turn_features
from emo_core.face.pose import RIGID_POINTS

FIXTURES = Path(__file__).parents[1] / "fixtures" / "evaluation"
FRAMES = 24


@pytest.fixture(scope="module")
def turning() -> list[tuple[FaceTrack, np.ndarray]]:
    """Three rendered test people who talk and turn, and their true poses (f, 3)."""
    from PIL import Image

    strip = np.asarray(Image.open(FIXTURES / "turning.webp").convert("RGB"))
    truth = json.loads((FIXTURES / "turning.json").read_text())
    tracks = [follow(np.stack(np.split(row, FRAMES, axis=1))) for row in np.split(strip, len(truth))]
    assert all(track is not None for track in tracks)
    return [(track, np.asarray(row["rotation_deg"])) for track, row in zip(tracks, truth, strict=True)]


def true_speed(turns: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(turns, axis=0), axis=1).mean())


def test_unseen_people_are_read_as_they_turn(turning):
    for track, truth in turning:
        wrong = read_turns(track.landmarks) - (truth - truth.mean(0))
        assert np.sqrt(np.square(wrong).mean(0)) == pytest.approx([0.4, 0.4, 0.4], abs=0.6)
        assert track.speed_deg.shape == (FRAMES,)
        # a head at rest shows the jitter of the mesh
        assert float(track.speed_deg.mean()) == pytest.approx(true_speed(truth), abs=0.35)
    slow, fast = sorted(turning, key=lambda pair: true_speed(pair[1]))[::2]
    assert float(fast[0].speed_deg.mean()) > 1.5 * float(slow[0].speed_deg.mean())


def test_a_steady_turn_has_its_own_speed_in_every_frame():
    turns = np.arange(20)[:, None] * np.array([[0.3, -0.4, 1.2]])
    assert speed_of_turns(turns) == pytest.approx(np.full(20, 1.3))
    assert speed_of_turns(turns[:4]) == pytest.approx(np.full(4, 1.3))
    assert speed_of_turns(turns[:2]) == pytest.approx(np.full(2, 1.3))
    assert speed_of_turns(turns[:1]).tolist() == [0.0]


def test_jitter_is_less_than_from_frame_to_frame():
    jitter = np.random.default_rng(0).standard_normal((400, 3))
    assert speed_of_turns(jitter).mean() < 0.3 * np.linalg.norm(np.diff(jitter, axis=0), axis=1).mean()


def test_neither_place_nor_size_counts():
    landmarks = torch.randn(5, 468, 3, generator=torch.Generator().manual_seed(0))
    features = turn_features(landmarks)
    assert features.shape == (5, 3 * len(RIGID_POINTS))
    assert torch.allclose(features, turn_features(landmarks * 7 + torch.tensor([40.0, -3.0, 9.0])), atol=1e-5)
    mouth = landmarks.clone()
    mouth[:, 13:18] += 5  # the lips are not read
    assert torch.equal(features, turn_features(mouth))


def test_what_noise_takes_off_a_turn_is_given_back():
    rng = torch.Generator().manual_seed(0)
    shown = torch.randn(3, 33, generator=rng)

    def clip() -> Turning:
        turns = torch.randn(60, 3, generator=rng).cumsum(0)
        turns = turns - turns.mean(0)
        return Turning(turns @ shown + 8 * torch.randn(60, 33, generator=rng), turns)

    clips = [clip() for _ in range(30)]
    reader = train_turns(clips)
    with torch.no_grad():
        read, true = (torch.cat(parts) for parts in zip(*((reader(c.features), c.turns) for c in clips), strict=True))
    assert ((read * true).sum(0) / true.square().sum(0)).tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    found = turn_accuracy([clip() for _ in range(5)], reader)
    assert found["clips"] == 5 and found["pitch_deg"] < 3 and found["speed_deg"] > 0


def test_bundled_weights_are_small():
    assert (WEIGHTS / TurnReader.weights).stat().st_size < 1000
