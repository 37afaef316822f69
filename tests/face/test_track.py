"""A face is followed through a pan, lost where it goes, and found again."""

import torch
from torch import Tensor

from emo_core.face.pose import rotation_speed
from emo_core.face.track import track_face


def pan(astronaut: Tensor, frames: int) -> list[Tensor]:
    return [astronaut[:300, 20 + 4 * i : 320 + 4 * i] for i in range(frames)]


def test_a_pan_moves_the_landmarks_by_as_much_and_turns_nothing(astronaut: Tensor) -> None:
    faces = track_face(pan(astronaut, 8))
    landmarks = torch.stack([face.landmarks for face in faces if face is not None])
    assert landmarks.shape[0] == 8
    step = landmarks.mean(1).diff(dim=0)
    assert torch.allclose(step[:, :2].mean(0), torch.tensor([-4.0, 0.0]), atol=0.3)
    assert rotation_speed(landmarks).mean() < 0.5


def test_a_face_that_leaves_is_none_until_it_returns(astronaut: Tensor) -> None:
    blank = torch.full((300, 300, 3), 0.5)
    frame = astronaut[:300, 80:380]
    faces = track_face([blank, frame, blank, frame])
    assert [face is not None for face in faces] == [False, True, False, True]
