"""Is it still the same person? In: unit vectors of frames and of portraits. Out: shares and distances.

A distance is 1 - cosine: 0 for equals, about 1 for strangers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def distances(frames: Vectors, portraits: Vectors) -> NDArray[np.float64]:
    """(f, p) from unit vectors (f, d) and (p, d)."""
    return 1 - frames.astype(np.float64) @ portraits.astype(np.float64).T


def nearest_share(frames: Vectors, portraits: Vectors, own: int) -> float:
    """Share of frames whose nearest portrait is number `own`."""
    return float((distances(frames, portraits).argmin(axis=1) == own).mean())


def own_and_nearest_other(frames: Vectors, portraits: Vectors, own: int) -> tuple[float, float]:
    """Mean distance to the own portrait, and to the nearest of the others."""
    table = distances(frames, portraits)
    others = np.delete(table, own, axis=1)
    return float(table[:, own].mean()), float(others.min(axis=1).mean())


def drift(frames: Vectors, window: int) -> float:
    """How far the mean of the last `window` frames lies from the mean of the first."""
    first, last = (_unit(part.mean(axis=0)) for part in (frames[:window], frames[-window:]))
    return float(1 - first @ last)


def _unit(vector: Vectors) -> Vectors:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)
