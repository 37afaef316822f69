"""Which part of a photograph is the person: so that what lies behind stays still while the head turns.

In: the photograph and its mesh. Out: (R, 36) how much of the person each point of the rings shows, 0..1. A network that
segments is not at hand; a prior of how far hair reaches is moved by colours: those at the picture's upper rim are the
background's, those just around the face and in it the person's. Clothes below the chin are the person's in any case.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .points import OVAL
from .template import RINGS

Array = NDArray[np.float64]
_BINS = 16  # of each colour channel
_STEP = 4  # pixels of the photograph per pixel that is looked at
_EVEN = 1.55  # where hair ends as often as not, in sizes of the face's oval from its middle
_SLOPE = 9.0  # log odds per such size
_MOST = 3.2  # log odds that colours may say


def person_on_rings(photograph: NDArray[np.float32], marks: Array, unit: float) -> Array:
    """The person's share at each point of the rings, smooth along the rays, falling outwards."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    mask = person_mask(photograph, marks, unit)
    soft = gaussian_filter(mask, 0.06 * unit / _STEP)
    oval = marks[list(OVAL), :2]
    centre = oval.mean(0)
    places = np.stack([centre + ring * (oval - centre) for ring in RINGS]) / _STEP - 0.5
    share = map_coordinates(soft, [places[..., 1], places[..., 0]], order=1, mode="nearest")
    share[np.array(RINGS) < 1.2] = 1.0
    for row in range(1, len(RINGS)):  # what lies beyond background is background
        share[row] = np.minimum(share[row], share[row - 1] + 0.1)
    share = (np.roll(share, 1, 1) + 2 * share + np.roll(share, -1, 1)) / 4
    return np.asarray(np.clip(share, 0, 1))


def person_mask(photograph: NDArray[np.float32], marks: Array, unit: float) -> Array:
    """(T / 4, T / 4) 0..1: how likely each place is the person."""
    from scipy.ndimage import gaussian_filter

    picture = photograph.reshape(len(photograph) // _STEP, _STEP, len(photograph) // _STEP, _STEP, 3).mean((1, 3))
    size, down = _around(marks, len(picture))
    low, high = marks[list(OVAL), 1].min() / _STEP, marks[list(OVAL), 1].max() / _STEP
    rows = np.arange(len(picture))[:, None] + 0.5
    eyes = (marks[33, 1] + marks[263, 1]) / 2 / _STEP
    behind = (size > 1.9) & (rows < eyes + 0.3 * unit / _STEP)
    person = (size < 1.12) | ((down > 0.6) & (size < 1.5)) | ((size < 1.25) & (rows < low + 0.25 * (high - low)))
    colours = _histogram(picture[person]), _histogram(picture[behind])
    said = np.log((colours[0] + 2e-5) / (colours[1] + 2e-5))
    cells = np.minimum((picture / 256 * _BINS).astype(int), _BINS - 1)
    odds = np.clip(said[cells[..., 0], cells[..., 1], cells[..., 2]], -_MOST, _MOST)
    odds = gaussian_filter(odds, 0.03 * unit / _STEP)
    prior = _SLOPE * (_EVEN - size)
    prior = np.where(down > 0.45, np.maximum(prior, 4.0), prior)
    return np.asarray(1 / (1 + np.exp(-np.clip(prior + odds, -30, 30))))


def _around(marks: Array, count: int) -> tuple[Array, Array]:
    """For every pixel (count, count): how many times the oval it lies away from its middle, and how far that way leads
    down (-1..1)."""
    oval = marks[list(OVAL), :2] / _STEP
    centre = oval.mean(0)
    x, y = np.meshgrid(np.arange(count) + 0.5 - centre[0], np.arange(count) + 0.5 - centre[1])
    angles = np.arctan2(oval[:, 1] - centre[1], oval[:, 0] - centre[0])
    radii = np.linalg.norm(oval - centre, axis=1)
    order = np.argsort(angles)
    radius = np.interp(np.arctan2(y, x), angles[order], radii[order], period=2 * np.pi)
    away = np.hypot(x, y)
    return away / radius, y / np.maximum(away, 1e-6)


def _histogram(pixels: NDArray[np.float32]) -> Array:
    """How often colours occur, smoothed: (16, 16, 16), sum 1."""
    from scipy.ndimage import gaussian_filter

    counts, _ = np.histogramdd(pixels, bins=_BINS, range=[(0, 256)] * 3)
    counts = gaussian_filter(counts, 0.8)
    return np.asarray(counts / max(counts.sum(), 1e-9))
