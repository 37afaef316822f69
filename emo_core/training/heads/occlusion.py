"""How much of the sky and of the key light each vertex sees in the neutral pose: soft shadow under brows, chin and
hair.

In: rest vertices, triangles, the key's direction. Out: two shares per vertex. Found by looking at the head from
many directions through the rasteriser and asking which vertices are nearest.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .raster import rasterise, vertex_normals

Array = NDArray[np.float32]
_SIZE = 176  # pixels of a look
_SPAN = 0.5  # metres across it
_BIAS = 0.0035  # metres; nearer than this to the front surface counts as seen


def occlusion(vertices: Array, faces: NDArray[np.int32], key_way: Array) -> tuple[Array, Array]:
    """(v,) share of the sky seen, (v,) share of a wide key light seen, both 0..1, for `vertices` (v, 3)."""
    normals = np.empty_like(vertices)
    vertex_normals(vertices, faces, normals)
    sky = _sphere(64)
    sky = sky[(sky[:, 2] > -0.55) & (sky[:, 1] < 0.75)]
    seen = _visible(vertices, faces, sky)
    facing = np.clip(normals @ sky.T, 0, None) + 0.02
    open_sky = (facing * seen).sum(axis=1) / facing.sum(axis=1)
    spread = key_way[None] + 0.26 * _sphere(16)
    spread /= np.linalg.norm(spread, axis=1, keepdims=True)
    key = _visible(vertices, faces, spread.astype(np.float32)).mean(axis=1)
    return open_sky.astype(np.float32), key.astype(np.float32)


def _sphere(count: int) -> Array:
    """Evenly spread directions (Fibonacci's spiral)."""
    i = np.arange(count) + 0.5
    z, angle = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1).astype(np.float32)


def _visible(vertices: Array, faces: NDArray[np.int32], ways: Array) -> Array:
    """(v, directions) 1 where a vertex is seen from that direction, softened over the four pixels around it."""
    seen = np.empty((len(vertices), len(ways)), np.float32)
    nearest = np.empty((_SIZE, _SIZE), np.float32)
    triangle = np.empty((_SIZE, _SIZE), np.int32)
    weights = np.empty((_SIZE, _SIZE, 2), np.float32)
    both = np.ones(len(faces), np.uint8)
    centre = np.array([0.0, 0.07, -0.03], np.float32)
    for k, way in enumerate(ways):
        right = np.cross(way, [0.0, 0.0, 1.0] if abs(way[2]) < 0.9 else [0.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        frame = np.stack([right, np.cross(right, way), way]).astype(np.float32)
        local: Array = np.asarray((vertices - centre) @ frame.T, dtype=np.float32)
        pixels = local[:, :2] * np.float32(_SIZE / _SPAN) + np.float32(_SIZE / 2)
        points: Array = np.ascontiguousarray(pixels, dtype=np.float32)
        # Larger is nearer to the light; positive.
        depth: Array = np.ascontiguousarray(local[:, 2] + np.float32(1.0), dtype=np.float32)
        rasterise(points, depth, faces, both, nearest, triangle, weights)
        _compare(points, depth, nearest, seen[:, k])
    return seen


@njit(cache=True, nogil=True)
def _compare(points: Array, depth: Array, nearest: Array, seen: Array) -> None:
    size = nearest.shape[0]
    for i in range(points.shape[0]):
        x, y = points[i, 0] - 0.5, points[i, 1] - 0.5
        x0, y0 = int(np.floor(x)), int(np.floor(y))
        u, v = x - x0, y - y0
        total = 0.0
        for dy in range(2):
            for dx in range(2):
                px, py = min(max(x0 + dx, 0), size - 1), min(max(y0 + dy, 0), size - 1)
                weight = (u if dx else 1 - u) * (v if dy else 1 - v)
                if depth[i] + _BIAS >= nearest[py, px]:
                    total += weight
        seen[i] = total
