"""How much of the sky and of the key light each vertex sees in the neutral pose: soft shadow under brows, chin and
hair.

In: rest vertices, triangles, the key's direction. Out: two shares per vertex. Found by looking at the head from
many directions through the rasteriser and asking which vertices are nearest.
"""

from __future__ import annotations

import numpy as np
from numpy import float32 as f32
from numpy.typing import NDArray

from .compiled import compiled
from .raster import rasterise, vertex_normals

Array = NDArray[np.float32]
_SIZE = 176  # pixels of a look
_SPAN = 0.5  # metres across it
_BIAS = f32(0.0035)  # metres; nearer than this to the front surface counts as seen


def occlusion(
    vertices: Array, faces: NDArray[np.int32], two_sided: NDArray[np.uint8], key_way: Array
) -> tuple[Array, Array]:
    """(v,) share of the sky seen, (v,) share of a wide key light seen, both 0..1, for `vertices` (v, 3)."""
    normals = np.empty_like(vertices)
    vertex_normals(vertices, faces, normals)
    sky = _sphere(64)
    sky = sky[(sky[:, 2] > -0.55) & (sky[:, 1] < 0.75)]
    seen = _visible(vertices, faces, two_sided, sky)
    facing = np.clip(sky @ normals.T, 0, None) + f32(0.02)
    open_sky = (facing * seen).sum(axis=0) / facing.sum(axis=0)
    spread = key_way[None] + 0.26 * _sphere(16)
    spread /= np.linalg.norm(spread, axis=1, keepdims=True)
    key = _visible(vertices, faces, two_sided, spread.astype(np.float32)).mean(axis=0)
    return open_sky.astype(np.float32), key.astype(np.float32)


def _sphere(count: int) -> Array:
    """Evenly spread directions (Fibonacci's spiral)."""
    i = np.arange(count) + 0.5
    z, angle = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1).astype(np.float32)


def _visible(vertices: Array, faces: NDArray[np.int32], two_sided: NDArray[np.uint8], ways: Array) -> Array:
    """(directions, v) 1 where a vertex is seen from that direction, softened over the four pixels around it."""
    seen = np.empty((len(ways), len(vertices)), np.float32)
    nearest = np.empty((_SIZE, _SIZE), np.float32)
    centred = vertices - np.array([0.0, 0.07, -0.03], np.float32)
    aside, upright = np.eye(3, dtype=np.float32)[1:]
    right = np.cross(ways, np.where(np.abs(ways[:, 2:]) < 0.9, upright, aside))
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(right, ways)
    for k, way in enumerate(ways):
        plane = np.stack([right[k], down[k]], axis=1) * f32(_SIZE / _SPAN)
        points: Array = centred @ plane + f32(_SIZE / 2)
        depth: Array = centred @ way + f32(1.0)  # larger is nearer to the light; positive
        rasterise(points, depth, faces, two_sided, nearest)
        _compare(points, depth, nearest, seen[k])
    return seen


@compiled
def _compare(points: Array, depth: Array, nearest: Array, seen: Array) -> None:
    last = nearest.shape[0] - 1
    for i in range(points.shape[0]):
        x, y = points[i, 0] - f32(0.5), points[i, 1] - f32(0.5)
        left, top = np.floor(x), np.floor(y)
        u, v = x - left, y - top
        x0, y0 = min(max(int(left), 0), last), min(max(int(top), 0), last)
        x1, y1 = min(max(int(left) + 1, 0), last), min(max(int(top) + 1, 0), last)
        limit = depth[i] + _BIAS
        total = (f32(1.0) - u) * (f32(1.0) - v) * f32(limit >= nearest[y0, x0])
        total += u * (f32(1.0) - v) * f32(limit >= nearest[y0, x1])
        total += (f32(1.0) - u) * v * f32(limit >= nearest[y1, x0])
        total += u * v * f32(limit >= nearest[y1, x1])
        seen[i] = total
