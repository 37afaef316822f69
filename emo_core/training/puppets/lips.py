"""Where a photograph's lips meet. In: the photograph and its mesh. Out: the mesh with its inner lips on that line, and
how the lips are drawn together at rest where the photograph's are parted.

The mesh's own line between closed lips is off by up to a lip's half. Lengths in E, the distance of the eye corners.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .points import (
    BELOW_LIP,
    INNER,
    LEFT_MOUTH,
    LOWER_LIP,
    LOWER_MIDDLE,
    OUTER,
    POINTS,
    RIGHT_MOUTH,
    UPPER_LIP,
    UPPER_MIDDLE,
)

Array = NDArray[np.float64]
CLOSED = 0.03  # E: a gap of the mesh below it is none
_REACH = 0.05  # E: so far from the mesh's line the lips' line is looked for
_VALLEY = 0.030  # E above and below, against which the line must be dark: a moustache is dark on both sides of it
_STEEP = 0.25  # cost of a step up or down
_FAR = 0.8  # cost of the whole reach
_RIM_UP, _RIM_DOWN = 0.014, 0.020  # E: parted lips are cut so far outwards, so that photographed teeth fall out
_CLOSE_UPPER, _CLOSE_LOWER = (0.08, 0.20, 0.30, 0.38), (0.42, 0.50, 0.58, 0.62)  # of the gap, rows from outside in


def lip_gap(marks: Array, unit: float) -> float:
    """Distance of the inner lips in E."""
    return float(np.linalg.norm(marks[UPPER_MIDDLE, :2] - marks[LOWER_MIDDLE, :2]) / unit)


def fit_lips(photograph: NDArray[np.float32], marks: Array, unit: float) -> tuple[Array, Array]:
    """The mesh (468, 3) with its lips where the photograph's are, and the offset (468, 3) that closes them at rest (0
    where they are closed)."""
    if lip_gap(marks, unit) < CLOSED:
        return _joined(photograph, marks.copy(), unit), np.zeros((POINTS, 3))
    return _parted(marks.copy(), unit)


def lip_line(photograph: NDArray[np.float32], marks: Array, unit: float) -> tuple[NDArray[np.int64], Array]:
    """Columns and rows of the dark line between closed lips, by dynamic programming around the mesh's own line.

    Dark is what is darker than what lies above and below it; plain darkness would follow a moustache or a shadow."""
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    grey = gaussian_filter(photograph.mean(2), 0.008 * unit)
    columns = np.arange(int(marks[UPPER_LIP[INNER][0], 0]), int(marks[UPPER_LIP[INNER][-1], 0]) + 1)
    rows = [marks[list(lip[INNER])] for lip in (UPPER_LIP, LOWER_LIP)]
    mesh = np.mean([np.interp(columns, row[:, 0], row[:, 1]) for row in rows], axis=0)
    reach = max(2, round(_REACH * unit))
    offsets = np.arange(-reach, reach + 1)
    places = np.clip(np.round(mesh[:, None] + offsets).astype(int), 0, len(grey) - 1)
    away = max(2, round(_VALLEY * unit))
    x = columns[:, None]
    above, below = grey[np.maximum(places - away, 0), x], grey[np.minimum(places + away, len(grey) - 1), x]
    here = grey[places, x]
    depth = np.minimum(np.minimum(above, below) - here, 0.5 * (above + below) - here)
    contrast = np.percentile(depth, 95) - np.percentile(depth, 20) + 1e-3
    cost = -depth / contrast + _FAR * (offsets / reach) ** 2
    total, came = cost.copy(), np.zeros(cost.shape, int)
    for k in range(1, len(columns)):
        ways = np.full((3, len(offsets)), np.inf)
        ways[0, 1:], ways[1], ways[2, :-1] = total[k - 1, :-1] + _STEEP, total[k - 1], total[k - 1, 1:] + _STEEP
        best = ways.argmin(0)
        came[k] = best - 1
        total[k] = cost[k] + ways[best, np.arange(len(offsets))]
    j, line = int(total[-1].argmin()), np.empty(len(columns))
    for k in range(len(columns) - 1, -1, -1):
        line[k] = mesh[k] + offsets[j]
        j += came[k, j]
    return columns, np.asarray(gaussian_filter1d(line, 0.015 * unit, mode="nearest"))


def _joined(photograph: NDArray[np.float32], marks: Array, unit: float) -> Array:
    """Both inner rows on the lips' line, point on point, so that nothing shows between them; the rows outside of them
    stay in order."""
    columns, line = lip_line(photograph, marks, unit)
    before = marks.copy()
    for k in range(1, 10):
        pair = [lip[INNER][k] for lip in (UPPER_LIP, LOWER_LIP)]
        marks[pair, 0] = before[pair, 0].mean()
        marks[pair, 1] = np.interp(marks[pair[0], 0], columns, line)
    for lip in (UPPER_LIP, LOWER_LIP):
        for k in range(1, 10):
            inner, outer = lip[INNER][k], before[lip[OUTER][k], 1]
            moved = marks[inner, 1] - before[inner, 1]
            for row, share in zip(lip[1:INNER], (1 / 3, 2 / 3), strict=True):
                ends = [outer + (share + way * 0.22) * (marks[inner, 1] - outer) for way in (-1, 1)]
                marks[row[k], 1] = np.clip(before[row[k], 1] + share * moved, min(ends), max(ends))
    return marks


def _parted(marks: Array, unit: float) -> tuple[Array, Array]:
    """The rims cut outwards, and the offset that draws them together."""
    close = np.zeros((POINTS, 3))
    middle = (marks[LOWER_MIDDLE] - marks[UPPER_MIDDLE])[:2].copy()
    for k in range(1, 10):
        upper, lower = marks[UPPER_LIP[INNER][k]].copy(), marks[LOWER_LIP[INNER][k]].copy()
        upper[1] -= min(_RIM_UP * unit, 0.3 * abs(marks[UPPER_LIP[OUTER][k], 1] - upper[1]))
        lower[1] += min(_RIM_DOWN * unit, 0.35 * abs(marks[LOWER_LIP[OUTER][k], 1] - lower[1]))
        for lip, rim in ((UPPER_LIP, upper), (LOWER_LIP, lower)):
            marks[lip[INNER][k]] = rim
            outer = marks[lip[OUTER][k], :2]
            for row, share in zip(lip[1:INNER], (1 / 3, 2 / 3), strict=True):
                marks[row[k], :2] = 0.5 * marks[row[k], :2] + 0.5 * (outer + share * (rim[:2] - outer))
        gap = (lower - upper)[:2]
        for row, share in zip(UPPER_LIP, _CLOSE_UPPER, strict=True):
            close[row[k], :2] = share * gap
        for row, share in zip(LOWER_LIP, _CLOSE_LOWER, strict=True):
            close[row[k], :2] = -share * gap
    for index, share in BELOW_LIP.items():
        close[index, :2] = -share * middle
    return marks, close


def smile_left_over(marks: Array, flat: Array, frame: Array, unit: float) -> Array:
    """(468, 3) how lips and cheeks would move if the photograph's smile went: what a mouth that rounds does in part.

    The corners' way beyond the template's, sideways and upwards, both in the face's own frame (`frame` (3, 3)), fading
    with the distance from the corner."""
    origin = (marks[33] + marks[263]) / 2
    moves = np.zeros((POINTS, 3))
    local = (marks - origin) @ frame / unit
    for corner, side in ((RIGHT_MOUTH, -1.0), (LEFT_MOUTH, 1.0)):
        beyond = local[corner] - flat[corner]
        back = np.array([-side * np.clip(side * beyond[0] - 0.02, 0, 0.16), -np.clip(beyond[1] + 0.02, -0.12, 0), 0.0])
        lips = np.unique([index for row in (*UPPER_LIP, *LOWER_LIP) for index in row])
        fading = np.exp(-(np.linalg.norm(local[:, :2] - local[corner, :2], axis=1) ** 2) / (2 * 0.16**2))
        away = np.clip(side * (local[lips, 0] - local[[RIGHT_MOUTH, LEFT_MOUTH], 0].mean()), 0, None)
        fading[lips] = np.clip(away / max(abs(local[corner, 0]), 1e-6), 0, 1) ** 1.5
        moves += fading[:, None] * back
    return moves @ frame.T * unit
