"""The triangles of a puppet: the mesh's points, a row of lashes, the rings around the face and the points far off.

In: the template. Out: a `Mesh`, the same for every person. Plain Delaunay would cross the mouth and the eyes, so their
strips are laid by hand. The order of the points: 468 | lashes | rings | far.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..clips import ACTIONS
from .points import EYES, INNER, LEFT_EYE, LOWER_LIP, OUTER, OVAL, POINTS, RIGHT_EYE, UPPER_LIP
from .template import FAR, RINGS, load_template

Array = NDArray[np.float64]
_LASH_HEIGHT = 0.3  # of the way from the rim to the fold, on the template
_OPEN = 0.4  # of jawOpen: how wide the mouth stands while the strips are laid


@dataclass(frozen=True)
class Mesh:
    """`triangles` (t, 3), all turned the same way; `lashes` (14, 2): rim and fold point of each point of the lash rows;
    `far` (16, 2) in E from the oval's middle."""

    triangles: NDArray[np.int32]
    lashes: NDArray[np.int64]
    far: Array

    @property
    def rings(self) -> slice:
        return slice(POINTS + len(self.lashes), POINTS + len(self.lashes) + len(RINGS) * len(OVAL))

    @property
    def size(self) -> int:
        return self.rings.stop + len(self.far)


@functools.cache
def load_mesh() -> Mesh:
    """Once per process."""
    template = load_template()
    lashes = np.array([pair for eye in EYES for pair in zip(eye[0][1:-1], eye[2][1:-1], strict=True)])
    steps = np.linspace(-FAR, FAR, 5)
    far = np.array([(x, y) for x in steps for y in steps if max(abs(x), abs(y)) == FAR])
    face = template.flat[:, :2]
    plane = _plane(face, lashes, far)
    free = np.setdiff1d(np.arange(len(plane)), _laid_by_hand())
    from scipy.spatial import Delaunay

    triangles = free[Delaunay(plane[free]).simplices]
    lash_rows = [list(range(POINTS + 7 * number, POINTS + 7 * (number + 1))) for number in (0, 1)]
    holes: list[list[int]] = [[*UPPER_LIP[OUTER], *LOWER_LIP[OUTER][-2:0:-1]]]
    for (upper, lower, _), row in zip(EYES, lash_rows, strict=True):
        holes.append([upper[0], *row, upper[-1], *lower[-2:0:-1]])
    for hole in holes:
        inside = np.isin(triangles, hole).all(1) & within(plane[triangles].mean(1), plane[hole])
        triangles = triangles[~inside]
    strips: list[tuple[int, int, int]] = []
    for lip in (UPPER_LIP, LOWER_LIP):
        for outer_row, inner_row in pairwise(lip):
            strips += _strip(outer_row, inner_row)
    for eye, lashes_of in zip((RIGHT_EYE, LEFT_EYE), lash_rows, strict=True):
        strips += _strip(eye[0], [eye[0][0], *lashes_of, eye[0][-1]])
    triangles = np.concatenate([triangles, np.array([s for s in strips if len(set(s)) == 3])]).astype(np.int32)
    # All turned the same way, judged with the mouth open, so that its strips have an area.
    opened = face + _OPEN * template.actions[ACTIONS.index("jawOpen"), :, :2]
    for lip in (UPPER_LIP, LOWER_LIP):
        outer, inner = opened[list(lip[OUTER])], opened[list(lip[INNER])]
        for share, between in zip((1 / 3, 2 / 3), lip[1:INNER], strict=True):
            opened[list(between)] = outer + share * (inner - outer)
    a, b, c = (_plane(opened, lashes, far)[triangles[:, k]] for k in range(3))
    turned = crossed(b - a, c - a) < 0
    triangles[turned] = triangles[turned][:, ::-1]
    return Mesh(triangles, lashes, far)


def _plane(face: Array, lashes: NDArray[np.int64], far: Array) -> Array:
    """All points where the template has them, in the picture's plane."""
    oval = face[list(OVAL)]
    centre = oval.mean(0)
    rows = face[lashes[:, 0]] + _LASH_HEIGHT * (face[lashes[:, 1]] - face[lashes[:, 0]])
    return np.concatenate([face, rows, *(centre + ring * (oval - centre) for ring in RINGS), centre + far])


def _laid_by_hand() -> list[int]:
    """Points that Delaunay is not shown: the lips' inner rows and the upper lids' rims."""
    rows = [*UPPER_LIP[1:], *LOWER_LIP[1:], *(eye[0][1:-1] for eye in EYES)]
    return sorted({index for row in rows for index in row})


def _strip(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int, int]]:
    """The triangles between two rows of as many points."""
    strip = []
    for k in range(len(a) - 1):
        strip += [(a[k], a[k + 1], b[k + 1]), (a[k], b[k + 1], b[k])]
    return strip


def crossed(a: Array, b: Array) -> Array:
    """Twice the signed area between vectors (..., 2)."""
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def within(points: Array, polygon: Array) -> NDArray[np.bool_]:
    """Which of `points` (n, 2) lie inside a closed polygon (k, 2): a ray to the right crosses it an odd number of
    times."""
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            between = (points[:, 1] >= min(y0, y1)) & (points[:, 1] < max(y0, y1))
            inside ^= between & (points[:, 0] < x0 + (points[:, 1] - y0) * (x1 - x0) / (y1 - y0))
    return inside
