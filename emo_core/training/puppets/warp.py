"""The pictures of a puppet: triangles of a photograph, moved, with what lies behind an open mouth; compiled by numba.

In: where each point is drawn and where it lies in the photograph. Out: the frame, and as its by-product the truth that
nobody has who trains on videos: the backward flow, interpolated over the triangles, and the share of each cell that the
photograph itself shows. What is interpolated is the displacement, which is exactly 0 at rest, so that a face at rest is
its photograph to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import float32 as f32
from numpy.typing import NDArray

from ..heads.compiled import compiled
from .mouth import Mouth, paint_mouth, step

Array = NDArray[np.float32]
SAMPLES = 2  # samples along a pixel's side
CELL = 4  # pixels along a side of a cell of the flow, as in `training.clips`
_TURNED = f32(60.0 / 512)  # of the picture's side: by so much deeper lies what is seen from behind
_CENTRAL = f32(1000.0)  # weight of a cell's four middle samples in its flow, against 1: it is that at the centre
_STILL, _MOVED, _LID = 0, 1, 2  # kinds of triangles


@compiled
def rasterise(
    points: Array, depth: Array, triangles: NDArray[np.int32], nearest: Array, triangle: NDArray[np.int32],
    weights: Array,
) -> None:  # fmt: skip
    """Fill `nearest` (S, S), `triangle` (S, S; -1: none) and `weights` (S, S, 2) of its second and third corner.

    `points` (v, 2) and `depth` (v,) in samples, smaller is nearer; `triangles` (t, 3)."""
    side = nearest.shape[0]
    nearest[:] = f32(1e9)
    triangle[:] = -1
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < f32(1e-6):
            continue
        deeper = f32(0.0) if area > f32(0.0) else _TURNED * f32(side)
        x0, x1 = _samples(min(ax, bx, cx), max(ax, bx, cx), side)
        y0, y1 = _samples(min(ay, by, cy), max(ay, by, cy), side)
        inverse = f32(1.0) / area
        b_right, b_down = (cy - ay) * inverse, (ax - cx) * inverse
        c_right, c_down = (ay - by) * inverse, (bx - ax) * inverse
        za, zb, zc = depth[a] + deeper, depth[b] + deeper, depth[c] + deeper
        z_right = (zb - za) * b_right + (zc - za) * c_right
        for y in range(y0, y1 + 1):
            down = f32(y) + f32(0.5) - ay
            # At x = 0 all three weights, and from where to where none of them is negative.
            wb, wc = (f32(0.5) - ax) * b_right + down * b_down, (f32(0.5) - ax) * c_right + down * c_down
            low, high = _above(wb, b_right, f32(x0), f32(x1))
            low, high = _above(wc, c_right, low, high)
            low, high = _above(f32(1.0) - wb - wc, -b_right - c_right, low, high)
            first, last = int(np.ceil(low)), int(np.floor(high))
            z = za + (zb - za) * wb + (zc - za) * wc
            for x in range(first, last + 1):
                here = z + f32(x) * z_right
                if here < nearest[y, x]:
                    nearest[y, x] = here
                    triangle[y, x] = t
                    weights[y, x, 0], weights[y, x, 1] = wb + f32(x) * b_right, wc + f32(x) * c_right


@compiled
def _above(value: Any, slope: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """The part of low .. high in which a line, `value` at 0, is not below 0; empty ones have low above high."""
    value = value + f32(1e-5)
    if slope > f32(1e-9):
        low = max(low, -value / slope)
    elif slope < f32(-1e-9):
        high = min(high, -value / slope)
    elif value < f32(0.0):
        high = low - f32(1.0)
    return low, high


@compiled
def _samples(low: Any, high: Any, end: int) -> tuple[int, int]:
    """First and last sample centre (at halves) between two coordinates, kept inside 0 .. end - 1."""
    return max(0, int(np.ceil(low - f32(0.5)))), min(end - 1, int(np.floor(high - f32(0.5))))


@compiled
def draw(
    triangle: NDArray[np.int32], weights: Array, triangles: NDArray[np.int32], shift: Array, marks: Array,
    texture: NDArray[np.uint8], lids: NDArray[np.uint8], mouth: Mouth, lips: Array, lash: Array, blinks: Array,
    middle: Any, frame: NDArray[np.uint8], flow: Array, visible: Array,
) -> int:  # fmt: skip
    """Fill `frame` (H, H, 3), `flow` (H / 4, H / 4, 2; shares of the side) and `visible` (H / 4, H / 4); returns how
    many samples show the mouth's inside.

    `shift` (v, 2): from where a point is drawn to its place in `texture`, in samples, without the margin; `marks`
    (v, 2): how much of the lash line and of the painted lid it carries; `texture` and `lids` (T, T, 3), the photograph
    and the same with closed eyes; `lips` (S, 2): where the upper and the lower lip end in each column; `blinks` (2,):
    right and left, 0..1, on either side of the column `middle`."""
    side = triangle.shape[0]
    margin, last = (texture.shape[0] - side) // 2, f32(texture.shape[0]) - f32(1.001)
    inside = 0
    colour, total = np.empty(3, np.float32), np.empty(3, np.float32)
    known = np.zeros(flow.shape[:2], np.float32)
    kinds = _kinds(triangles, shift, marks, blinks[0] > f32(0.0) or blinks[1] > f32(0.0))
    for row in range(flow.shape[0]):
        for column in range(flow.shape[1]):
            seen, weight, flow_x, flow_y = f32(0.0), f32(0.0), f32(0.0), f32(0.0)
            for pixel in range(CELL * CELL):
                py, px = row * CELL + pixel // CELL, column * CELL + pixel % CELL
                total[:] = f32(0.0)
                for sample in range(SAMPLES * SAMPLES):
                    y, x = SAMPLES * py + sample // SAMPLES, SAMPLES * px + sample % SAMPLES
                    t = triangle[y, x]
                    if t < 0:
                        inside += 1
                        paint_mouth(mouth, f32(x) + f32(0.5), f32(y) + f32(0.5), lips[x, 0], lips[x, 1], colour)
                        for k in range(3):
                            total[k] += colour[k]
                        continue
                    if kinds[t] == _STILL:
                        for k in range(3):
                            total[k] += f32(texture[y + margin, x + margin, k])
                        seen += f32(1.0)
                        weight += _weight(pixel, sample)
                        continue
                    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                    wb, wc = weights[y, x, 0], weights[y, x, 1]
                    wa = f32(1.0) - wb - wc
                    dx = wa * shift[a, 0] + wb * shift[b, 0] + wc * shift[c, 0]
                    dy = wa * shift[a, 1] + wb * shift[b, 1] + wc * shift[c, 1]
                    fx = min(max(f32(x + margin) + dx, f32(0.0)), last)
                    fy = min(max(f32(y + margin) + dy, f32(0.0)), last)
                    _look(texture, fx, fy, colour)
                    shown = f32(1.0)
                    if kinds[t] == _LID:
                        blink = blinks[0] if x < middle else blinks[1]
                        line = max(wa * marks[a, 0] + wb * marks[b, 0] + wc * marks[c, 0], f32(0.0))
                        lid = step(wa * marks[a, 1] + wb * marks[b, 1] + wc * marks[c, 1], f32(0.05), f32(0.7))
                        line = min(line * np.sqrt(line), f32(1.0)) * blink * f32(0.9)
                        lid *= min(f32(1.0), f32(1.5) * blink)
                        shown = (f32(1.0) - lid) * (f32(1.0) - line)
                        if shown < f32(1.0):
                            _blend(lids, fx, fy, lid, colour)
                            for k in range(3):
                                colour[k] += line * (lash[k] - colour[k])
                    for k in range(3):
                        total[k] += colour[k]
                    seen += shown
                    if shown > f32(0.5):
                        share = _weight(pixel, sample)
                        flow_x, flow_y, weight = flow_x + share * dx, flow_y + share * dy, weight + share
                for k in range(3):
                    mean = total[k] * f32(1.0 / (SAMPLES * SAMPLES)) + f32(0.5)
                    frame[py, px, k] = np.uint8(min(max(mean, f32(0.0)), f32(255.0)))
            visible[row, column] = seen * f32(1.0 / (CELL * CELL * SAMPLES * SAMPLES))
            known[row, column] = weight
            flow[row, column, 0] = flow_x / (max(weight, f32(1e-9)) * f32(side))
            flow[row, column, 1] = flow_y / (max(weight, f32(1e-9)) * f32(side))
    _spread(flow, known)
    return inside


@compiled
def _kinds(triangles: NDArray[np.int32], shift: Array, marks: Array, blinking: bool) -> NDArray[np.uint8]:
    """What is to be done for a sample of each triangle: most of a picture stands still, and few are lids."""
    kinds = np.empty(len(triangles), np.uint8)
    for t in range(len(triangles)):
        moved, carries = f32(0.0), f32(0.0)
        for k in range(3):
            i = triangles[t, k]
            moved = max(moved, max(abs(shift[i, 0]), abs(shift[i, 1])))
            carries = max(carries, max(marks[i, 0], marks[i, 1]))
        kinds[t] = _LID if blinking and carries > f32(0.0) else _STILL if moved < f32(1e-4) else _MOVED
    return kinds


@compiled
def _weight(pixel: int, sample: int) -> Any:
    """Of a sample in its cell's flow: the four in the cell's middle count, the others only where those are missing."""
    y = (pixel // CELL) * SAMPLES + sample // SAMPLES - CELL * SAMPLES // 2
    x = (pixel % CELL) * SAMPLES + sample % SAMPLES - CELL * SAMPLES // 2
    return _CENTRAL if -1 <= y <= 0 and -1 <= x <= 0 else f32(1.0)


@compiled
def _look(texture: NDArray[np.uint8], x: Any, y: Any, colour: Array) -> None:
    """The texture's colour at a place between pixels."""
    i, j = int(x), int(y)
    u, v = x - f32(i), y - f32(j)
    for k in range(3):
        above = f32(texture[j, i, k]) + u * (f32(texture[j, i + 1, k]) - f32(texture[j, i, k]))
        below = f32(texture[j + 1, i, k]) + u * (f32(texture[j + 1, i + 1, k]) - f32(texture[j + 1, i, k]))
        colour[k] = above + v * (below - above)


@compiled
def _blend(texture: NDArray[np.uint8], x: Any, y: Any, share: Any, colour: Array) -> None:
    """Go over to another texture by so much."""
    other = np.empty(3, np.float32)
    _look(texture, x, y, other)
    for k in range(3):
        colour[k] += share * (other[k] - colour[k])


@compiled
def _spread(flow: Array, known: Array) -> None:
    """Give cells of which nothing is seen the mean of their neighbours, from the rim inwards."""
    rows, columns = known.shape
    left = 1
    while left > 0:
        left = 0
        before = known.copy()
        for row in range(rows):
            for column in range(columns):
                if before[row, column] > f32(0.0):
                    continue
                count, x, y = f32(0.0), f32(0.0), f32(0.0)
                for r in range(max(row - 1, 0), min(row + 2, rows)):
                    for c in range(max(column - 1, 0), min(column + 2, columns)):
                        if before[r, c] > f32(0.0):
                            count, x, y = count + f32(1.0), x + flow[r, c, 0], y + flow[r, c, 1]
                if count > f32(0.0):
                    flow[row, column, 0], flow[row, column, 1] = x / count, y / count
                    known[row, column] = f32(1.0)
                else:
                    left += 1
        if left == rows * columns:
            return
