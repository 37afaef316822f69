"""A z-buffer rasteriser compiled by numba: triangles in, a visibility buffer out (which triangle, where in it).

In: vertices in pixels with their inverse depth. Out: per sample the triangle's number (-1: none) and the
perspective-correct weights of its second and third corner. Not parallel inside: the data set is drawn by one
process per core.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import float32 as f32
from numpy.typing import NDArray

from .compiled import compiled

Array = NDArray[np.float32]


@compiled
def _samples(low: Any, high: Any, end: int) -> tuple[int, int]:
    """First and last sample centre (at halves) between two coordinates, kept inside 0 .. end - 1."""
    return max(0, int(np.ceil(low - f32(0.5)))), min(end - 1, int(np.floor(high - f32(0.5))))


@compiled
def rasterise(
    points: Array, inverse_depth: Array, faces: NDArray[np.int32], two_sided: NDArray[np.uint8], nearest: Array,
    triangle: NDArray[np.int32] | None = None, weights: Array | None = None,
) -> None:  # fmt: skip
    """Fill `nearest` (H, W), `triangle` (H, W) and `weights` (H, W, 2) in place; the last two on demand.

    `points` (v, 2) pixels, x right and y down; `inverse_depth` (v,) 1/metres, positive ahead; `faces` (t, 3)
    counter-clockwise when seen from the front; `two_sided` (t,) 1 where the back shows too.
    """
    height, width = nearest.shape
    nearest[:] = f32(0.0)
    if triangle is not None:
        triangle[:] = -1
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area > f32(-1e-9) and (two_sided[t] == 0 or area < f32(1e-9)):
            continue  # y points down, so a front face has a negative area
        x0, x1 = _samples(min(ax, bx, cx), max(ax, bx, cx), width)
        y0, y1 = _samples(min(ay, by, cy), max(ay, by, cy), height)
        if x0 > x1 or y0 > y1:
            continue  # between samples, or outside
        # The weights of the second and third corner are planes over the picture: a value and two slopes each.
        inverse = f32(1.0) / area
        b_right, b_down = (cy - ay) * inverse, (ax - cx) * inverse
        c_right, c_down = (ay - by) * inverse, (bx - ax) * inverse
        left, top = f32(x0) + f32(0.5) - ax, f32(y0) + f32(0.5) - ay
        za, zb, zc = inverse_depth[a], inverse_depth[b], inverse_depth[c]
        for y in range(y0, y1 + 1):
            down = top + f32(y - y0)
            wb, wc = left * b_right + down * b_down, left * c_right + down * c_down
            for x in range(x0, x1 + 1):
                wa = f32(1.0) - wb - wc
                if min(wa, wb, wc) >= f32(0.0):
                    depth = wa * za + wb * zb + wc * zc
                    if depth > nearest[y, x]:
                        nearest[y, x] = depth
                        if triangle is not None:
                            triangle[y, x] = t
                        if weights is not None:
                            metres = f32(1.0) / depth
                            weights[y, x, 0] = wb * zb * metres
                            weights[y, x, 1] = wc * zc * metres
                wb += b_right
                wc += c_right


@compiled
def vertex_normals(vertices: Array, faces: NDArray[np.int32], normals: Array) -> None:
    """Area-weighted unit normals (v, 3) of `vertices` (v, 3), written into `normals`."""
    normals[:] = f32(0.0)
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            normals[i, 0] += nx
            normals[i, 1] += ny
            normals[i, 2] += nz
    for i in range(normals.shape[0]):
        x, y, z = normals[i, 0], normals[i, 1], normals[i, 2]
        short = f32(1.0) / np.sqrt(x * x + y * y + z * z + f32(1e-30))  # squared areas are about 1e-12 m^4
        normals[i, 0], normals[i, 1], normals[i, 2] = x * short, y * short, z * short
