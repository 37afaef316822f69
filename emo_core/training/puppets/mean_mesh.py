"""The mesh of a face, steadier than one look gives it: the mean of several slightly different looks.

In: a picture (H, W, 3) float 0..1 and its landmarks. Out: landmarks (468, 3) and the mean of the mesh's belief.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...face.detect import landmark_view, mesh_in_view
from ...face.view import Pyramid, View

# Scale, shift right and down as shares of the view's side, degrees: one look is off by 1.5 % of E, eight by 0.5 %.
LOOKS = (
    (1.0, 0.0, 0.0, 0.0), (1.05, 0.02, 0.0, 2.0), (0.95, -0.02, 0.0, -2.0), (1.02, 0.0, 0.02, 3.0),
    (0.98, 0.0, -0.02, -3.0), (1.08, -0.015, 0.015, 0.0), (0.93, 0.015, -0.015, 1.0), (1.0, 0.01, 0.02, -1.0),
)  # fmt: skip


def mean_mesh(picture: Tensor, landmarks: Tensor) -> tuple[Tensor, float]:
    """Landmarks (468, 3) in the picture's pixels, whose depth is about its own mean, and the flag 0..1."""
    pyramid, around = Pyramid(picture), landmark_view(landmarks)
    points, flags = [], []
    for scale, right, down, degrees in LOOKS:
        x, y = around.centre_x + right * around.side, around.centre_y + down * around.side
        seen, flag = mesh_in_view(pyramid, View(x, y, around.side * scale, around.angle + math.radians(degrees)))
        seen[:, 2] -= seen[:, 2].mean()
        points.append(seen)
        flags.append(flag)
    return torch.stack(points).mean(0), sum(flags) / len(flags)
