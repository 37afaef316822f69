"""A z-buffer rasteriser compiled by numba: triangles in, a visibility buffer out (which triangle, where in it).

In: vertices in pixels with their inverse depth. Out: per sample the triangle's number (-1: none) and the
perspective-correct weights of its second and third corner. Not parallel inside: the data set is drawn by one
process per core.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float32]


@njit(cache=True, fastmath=True, nogil=True)
def rasterise(
    points: Array, inverse_depth: Array, faces: NDArray[np.int32], two_sided: NDArray[np.uint8], nearest: Array,
    triangle: NDArray[np.int32], weights: Array,
) -> None:  # fmt: skip
    """Fill `nearest` (H, W), `triangle` (H, W) and `weights` (H, W, 2) in place.

    `points` (v, 2) pixels, x right and y down; `inverse_depth` (v,) 1/metres, positive ahead; `faces` (t, 3)
    counter-clockwise when seen from the front; `two_sided` (t,) 1 where the back shows too.
    """
    height, width = nearest.shape
    nearest[:] = 0.0
    triangle[:] = -1
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area > -1e-9 and (two_sided[t] == 0 or area < 1e-9):
            continue  # y points down, so a front face has a negative area
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx) - 0.5))), min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy) - 0.5))), min(height - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        inverse = np.float32(1.0) / area
        za, zb, zc = inverse_depth[a], inverse_depth[b], inverse_depth[c]
        for y in range(y0, y1 + 1):
            py = np.float32(y + 0.5)
            for x in range(x0, x1 + 1):
                px = np.float32(x + 0.5)
                wb = ((px - ax) * (cy - ay) - (py - ay) * (cx - ax)) * inverse
                wc = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) * inverse
                wa = np.float32(1.0) - wb - wc
                if wa < 0.0 or wb < 0.0 or wc < 0.0:
                    continue
                depth = wa * za + wb * zb + wc * zc
                if depth > nearest[y, x]:
                    nearest[y, x] = depth
                    triangle[y, x] = t
                    weights[y, x, 0] = wb * zb / depth
                    weights[y, x, 1] = wc * zc / depth


@njit(cache=True, fastmath=True, nogil=True)
def vertex_normals(vertices: Array, faces: NDArray[np.int32], normals: Array) -> None:
    """Area-weighted unit normals (v, 3) of `vertices` (v, 3), written into `normals`."""
    normals[:] = 0.0
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
        length = np.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2) + 1e-20
        normals[i, 0] /= length
        normals[i, 1] /= length
        normals[i, 2] /= length
