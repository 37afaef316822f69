"""Tracks over time: does the generated mouth move as the true one does, and at the same moment?

In: one-dimensional tracks, one value per frame, one pair per clip. Out: a correlation or a lag in frames. Values are
pooled *within* clips: each clip's own mean is taken off first, so that a person with a wide mouth counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Track = NDArray[np.floating]

MAX_LAG = 5  # frames looked at on each side: 0.2 s at 25 fps


@dataclass(frozen=True)
class Sync:
    """`r` at lag 0; `lag` in frames (positive: the generated mouth is late) at which the correlation is `r_best`."""

    r: float
    lag: int
    r_best: float


def correlation(generated: Sequence[Track], truth: Sequence[Track]) -> float:
    """Pearson's r pooled over clips, each around its own means; 0 where a side does not move at all."""
    covariance = variance_generated = variance_truth = 0.0
    for g, t in zip(generated, truth, strict=True):
        if len(g) != len(t):
            raise ValueError(f"tracks of {len(g)} and {len(t)} frames")
        g, t = np.asarray(g, np.float64) - np.mean(g), np.asarray(t, np.float64) - np.mean(t)
        covariance += float(g @ t)
        variance_generated += float(g @ g)
        variance_truth += float(t @ t)
    scale = float(np.sqrt(variance_generated * variance_truth))
    return covariance / scale if scale > 1e-12 else 0.0


def lagged(generated: Track, truth: Track, lag: int) -> tuple[Track, Track]:
    """The parts of two tracks that lie over each other when the generated one is `lag` frames late."""
    n = len(truth)
    return generated[max(0, lag) : n + min(0, lag)], truth[max(0, -lag) : n - max(0, lag)]


def sync(generated: Sequence[Track], truth: Sequence[Track], max_lag: int = MAX_LAG) -> Sync:
    """Correlation now, and the lag at which it is best; of equals the smallest.

    No lag beyond a quarter of the shortest track: what is left over then correlates by chance.
    """
    max_lag = min([max_lag, *(len(t) // 4 for t in truth)])
    at: dict[int, float] = {}
    for lag in sorted(range(-max_lag, max_lag + 1), key=abs):
        pairs = [lagged(g, t, lag) for g, t in zip(generated, truth, strict=True)]
        at[lag] = correlation([g for g, _ in pairs], [t for _, t in pairs])
    best = max(at, key=lambda lag: at[lag])
    return Sync(at[0], best, at[best])


def motion(tracks: Sequence[Track]) -> float:
    """How much a track moves: the standard deviation within clips, pooled."""
    squares = [np.square(np.asarray(t, np.float64) - np.mean(t)) for t in tracks]
    return float(np.sqrt(np.mean(np.concatenate(squares)))) if squares else 0.0


def rising_share(measured: Sequence[float]) -> float:
    """Share of steps from one value to the next that go up: 1 when every setting gives more than the one before."""
    return float(np.mean(np.diff(np.asarray(measured, np.float64)) > 0))
