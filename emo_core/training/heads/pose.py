"""From a mesh at rest to the picture's plane: a head turned, seen by a camera, bounded; compiled by numba.

In: rest vertices, how the face moved them, a rotation. Out: vertices in metres, then in pixels.
"""

from __future__ import annotations

import numpy as np
from numpy import float32 as f32
from numpy.typing import NDArray

from .compiled import compiled

Array = NDArray[np.float32]


@compiled
def pose(
    rest: Array, shift: Array, neck: Array, pivot: Array, turn: Array, translation: Array, vertices: Array
) -> None:
    """`vertices` (v, 3) from `rest` (v, 3), moved by `shift` (m, 3) for the first m, then turned about `pivot` (3,).

    `turn` (3, 3) and `translation` (3,) reach each vertex by its share `neck` (v,).
    """
    moving = len(shift)
    for i in range(len(rest)):
        x, y, z = rest[i, 0], rest[i, 1], rest[i, 2]
        if i < moving:
            x, y, z = x + shift[i, 0], y + shift[i, 1], z + shift[i, 2]
        ox, oy, oz = x - pivot[0], y - pivot[1], z - pivot[2]
        turned_x = turn[0, 0] * ox + turn[0, 1] * oy + turn[0, 2] * oz + translation[0]
        turned_y = turn[1, 0] * ox + turn[1, 1] * oy + turn[1, 2] * oz + translation[1]
        turned_z = turn[2, 0] * ox + turn[2, 1] * oy + turn[2, 2] * oz + translation[2]
        vertices[i, 0] = x + neck[i] * (turned_x - ox)
        vertices[i, 1] = y + neck[i] * (turned_y - oy)
        vertices[i, 2] = z + neck[i] * (turned_z - oz)


@compiled
def project(vertices: Array, camera: Array, focal: float, middle: float, points: Array, inverse_depth: Array) -> None:
    """`points` (v, 2) in pixels, y down, and `inverse_depth` (v,) 1/metres, seen from `camera` (3,) along y."""
    for i in range(len(vertices)):
        near = f32(1.0) / (vertices[i, 1] - camera[1])
        inverse_depth[i] = near
        points[i, 0] = f32(middle) + f32(focal) * (vertices[i, 0] - camera[0]) * near
        points[i, 1] = f32(middle) - f32(focal) * (vertices[i, 2] - camera[2]) * near


@compiled
def bounds(points: Array, part: NDArray[np.int32]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of those of `points` (v, 2) that `part` (n,) names."""
    left, top = points[part[0], 0], points[part[0], 1]
    right, bottom = left, top
    for i in part:
        left, right = min(left, points[i, 0]), max(right, points[i, 0])
        top, bottom = min(top, points[i, 1]), max(bottom, points[i, 1])
    return left, top, right, bottom
