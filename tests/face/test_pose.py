"""Known turns of a face are measured as such."""

import math

import pytest
import torch
from torch import Tensor

from emo_core.face.detect import detect_faces
from emo_core.face.pose import head_angles, head_rotation, mouth_opening, rotation_speed
from emo_core.face.view import View, look


def turn(axis: int, degrees: float) -> Tensor:
    a, b = [i for i in range(3) if i != axis]
    matrix = torch.eye(3)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = cos, -sin, sin, cos
    return matrix


def flat_face() -> Tensor:
    """Eyes, chin, forehead, lips in the picture's plane, a nose before it."""
    points = torch.zeros(468, 3)
    points[33], points[263] = torch.tensor([-30.0, 0.0, 0.0]), torch.tensor([30.0, 0.0, 0.0])
    points[152], points[10] = torch.tensor([0.0, 70.0, 0.0]), torch.tensor([0.0, -50.0, 0.0])
    points[6], points[4] = torch.tensor([0.0, 2.0, -8.0]), torch.tensor([0.0, 28.0, -22.0])
    points[13], points[14] = torch.tensor([0.0, 38.0, 0.0]), torch.tensor([0.0, 44.0, 0.0])
    return points


def test_a_face_towards_the_camera_is_the_identity() -> None:
    assert torch.allclose(head_rotation(flat_face()), torch.eye(3), atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_rotation_is_the_one_the_points_were_turned_by(axis: int) -> None:
    matrix = turn(axis, 20.0)
    assert torch.allclose(head_rotation(flat_face() @ matrix.T), matrix, atol=1e-5)


def test_the_signs_of_the_angles() -> None:
    # turning about y (down) by the right-hand rule carries the nose (-z) to the picture's left
    assert torch.allclose(head_angles(flat_face() @ turn(2, 12.0).T), torch.tensor([0.0, 0.0, 12.0]), atol=1e-3)
    yaw, pitch, roll = head_angles(flat_face() @ turn(0, 12.0).T).tolist()
    nose = turn(0, 12.0) @ torch.tensor([0.0, 0.0, -1.0])
    assert (abs(yaw) < 1e-3 and abs(roll) < 1e-3) and pitch == pytest.approx(12.0 if nose[1] > 0 else -12.0, abs=1e-3)
    yaw = head_angles(flat_face() @ turn(1, 12.0).T)[0].item()
    nose = turn(1, 12.0) @ torch.tensor([0.0, 0.0, -1.0])
    assert yaw == pytest.approx(12.0 if nose[0] > 0 else -12.0, abs=1e-3)


@pytest.mark.parametrize("speed", [0.0, 0.1, 1.3])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_steady_turn_has_its_own_speed_in_every_frame(axis: int, speed: float) -> None:
    frames = torch.stack([flat_face() @ turn(axis, speed * i).T for i in range(20)])
    measured = rotation_speed(frames)
    assert measured.shape == (20,)
    assert torch.allclose(measured[3:-4], torch.full((13,), speed), atol=0.02)


def test_smoothing_takes_jitter_out_of_a_still_head() -> None:
    noise = torch.randn(60, 468, 3, generator=torch.Generator().manual_seed(0)) * 0.5  # pixels
    frames = flat_face() + noise
    assert rotation_speed(frames).mean() < 0.4 * rotation_speed(frames, smooth=1).mean()


def test_a_moving_jaw_is_no_turn_of_the_head() -> None:
    frames = flat_face().repeat(20, 1, 1)
    frames[:, 152] += torch.stack([torch.zeros(20), 9 * torch.rand(20), 5 * torch.rand(20)], dim=-1)
    assert rotation_speed(frames).max() < 1e-3


def test_one_frame_has_no_speed() -> None:
    assert rotation_speed(flat_face()[None]).tolist() == [0.0]


def test_mouth_opening_does_not_depend_on_scale() -> None:
    assert mouth_opening(flat_face()) == pytest.approx(0.1)
    assert mouth_opening(torch.stack([flat_face(), flat_face() * 3])).tolist() == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("tilt_deg", [15.0, 30.0])
def test_the_tilt_of_a_photograph_is_recovered(astronaut: Tensor, tilt_deg: float) -> None:
    upright = head_angles(detect_faces(astronaut)[0].landmarks)
    tilted = look(astronaut, View(256, 256, 512, -math.radians(tilt_deg)), 512).permute(1, 2, 0)
    angles = head_angles(detect_faces(tilted)[0].landmarks)
    assert (angles - upright)[2].item() == pytest.approx(tilt_deg, abs=2.5)
