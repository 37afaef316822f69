"""Head pose from the face mesh, and how fast the head turns: the quantity of EMO's speed layers (section 3.3).

In: landmarks (468, 3) per frame, in pixels with depth in the same units. Out: rotation matrices (f, 3, 3), angles in
degrees, rotation speed in degrees per frame. Absolute pitch is off by some 12 degrees (the brow lies behind the chin);
speed is a difference and does not care.
"""

from __future__ import annotations

import torch
from torch import Tensor

RIGHT_EYE, LEFT_EYE, CHIN, FOREHEAD = 33, 263, 152, 10  # mesh points; right and left are the person's
UPPER_LIP, LOWER_LIP = 13, 14  # their inner edges
# Corners of the eyes and the bridge of the nose. Tried with forehead, temples, nostrils or all points: more jitter.
RIGID_POINTS = [33, 133, 362, 263, 6, 168, 197, 195, 5, 4, 1]
FIT_ROUNDS = 4  # of mean face and rotations in turn; it settles in two
SMOOTH_FRAMES = 5  # the mesh jitters by about a degree from frame to frame


def head_rotation(landmarks: Tensor) -> Tensor:
    """Landmarks (..., 468, 3) -> rotation matrices (..., 3, 3) whose columns are the head's x (towards the person's
    left), y (down) and z (backwards) axes in the picture's frame. The identity is a head that looks at the camera.
    """
    x = landmarks[..., LEFT_EYE, :] - landmarks[..., RIGHT_EYE, :]
    down = landmarks[..., CHIN, :] - landmarks[..., FOREHEAD, :]
    x = torch.nn.functional.normalize(x, dim=-1)
    y = torch.nn.functional.normalize(down - (down * x).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def head_angles(landmarks: Tensor) -> Tensor:
    """Landmarks (..., 468, 3) -> (..., 3) yaw, pitch, roll in degrees: to the picture's right, down, clockwise."""
    rotation = head_rotation(landmarks)
    yaw = torch.atan2(-rotation[..., 0, 2], rotation[..., 2, 2])
    pitch = torch.atan2(-rotation[..., 1, 2], torch.hypot(rotation[..., 0, 2], rotation[..., 2, 2]))
    roll = torch.atan2(rotation[..., 1, 0], rotation[..., 1, 1])
    return torch.rad2deg(torch.stack([yaw, pitch, roll], dim=-1))


def rotation_speed(landmarks: Tensor, *, smooth: int = SMOOTH_FRAMES) -> Tensor:
    """Landmarks (f, 468, 3) of consecutive frames -> speed (f,) in degrees per frame, 0 for a single frame.

    On rendered heads of 128 pixels a still, talking head measures 0.25 and one that turns by 0.97 measures 0.97.
    """
    return speed_of_rotations(smooth_rotations(relative_rotations(landmarks), smooth))


def relative_rotations(landmarks: Tensor) -> Tensor:
    """Landmarks (f, 468, 3) -> rotations (f, 3, 3) of each frame against the clip's own mean face.

    Only points that speech does not move are used, and all at once: half the jitter of `head_rotation`, whose chin
    goes with the jaw.
    """
    points = rigid_shape(landmarks)
    mean = points[0]
    rotations = torch.eye(3, dtype=points.dtype).expand(len(points), 3, 3)
    for _ in range(FIT_ROUNDS):
        rotations = nearest_rotation(torch.einsum("fnk,nj->fkj", points, mean))
        mean = torch.einsum("fkj,fnk->fnj", rotations, points).mean(0)
    return rotations


def rigid_shape(landmarks: Tensor) -> Tensor:
    """Landmarks (f, 468, 3) -> the points that speech does not move (f, 11, 3), about their middle, in shares of their
    spread."""
    points = landmarks[:, RIGID_POINTS]
    points = points - points.mean(1, keepdim=True)
    return points / points.square().sum((1, 2), keepdim=True).sqrt().clamp(min=1e-9)


def nearest_rotation(matrices: Tensor) -> Tensor:
    """The rotations (f, 3, 3) nearest to any matrices (f, 3, 3): the orthogonal part, no reflections (Kabsch)."""
    u, _, vh = torch.linalg.svd(matrices)
    sign = torch.ones(matrices.shape[0], 3, dtype=matrices.dtype)
    sign[:, 2] = torch.linalg.det(u @ vh)
    return u @ torch.diag_embed(sign) @ vh


def smooth_rotations(rotations: Tensor, window: int) -> Tensor:
    """Average rotations (f, 3, 3) over a centred window, shorter at the ends (the rotation nearest to the mean)."""
    frames = rotations.shape[0]
    reach = window // 2
    means = [rotations[max(0, i - reach) : i + reach + 1].mean(0) for i in range(frames)]
    return nearest_rotation(torch.stack(means))


def speed_of_rotations(rotations: Tensor) -> Tensor:
    """Rotations (f, 3, 3) -> angle to the next frame's in degrees (f,); the last frame repeats the one before."""
    if rotations.shape[0] < 2:
        return rotations.new_zeros(rotations.shape[0])
    turn = rotations[:-1].transpose(-1, -2) @ rotations[1:]
    # asin of the Frobenius distance stays exact near zero, where acos of the trace loses half the digits
    distance = torch.linalg.matrix_norm(turn - torch.eye(3, dtype=turn.dtype))
    speed = torch.rad2deg(2 * torch.asin((distance / 8**0.5).clamp(max=1)))
    return torch.cat([speed, speed[-1:]])


def mouth_opening(landmarks: Tensor) -> Tensor:
    """Landmarks (..., 468, 3) -> distance of the inner lips over the distance of the outer eye corners (...,)."""
    lips = (landmarks[..., UPPER_LIP, :] - landmarks[..., LOWER_LIP, :]).norm(dim=-1)
    eyes = (landmarks[..., RIGHT_EYE, :] - landmarks[..., LEFT_EYE, :]).norm(dim=-1)
    return lips / eyes.clamp(min=1e-6)


def upper_face_opening(landmarks: Tensor) -> Tensor:
    """Landmarks (..., 468, 3) -> distance of the lids plus that of brows and lids, mean of both sides, over the
    distance of the outer eye corners (...,): blinks and brows move it, the mouth does not."""
    pairs = [(159, 145), (386, 374), (105, 159), (334, 386)]  # lids right, left; brow to upper lid right, left
    gaps = torch.stack([(landmarks[..., a, :] - landmarks[..., b, :]).norm(dim=-1) for a, b in pairs]).sum(0) / 2
    eyes = (landmarks[..., RIGHT_EYE, :] - landmarks[..., LEFT_EYE, :]).norm(dim=-1)
    return gaps / eyes.clamp(min=1e-6)
