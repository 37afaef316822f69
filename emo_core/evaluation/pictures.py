"""Measures between pictures: seams, flicker, drift of colour, signal-to-noise.

In: frames (f, H, W, 3), uint8 or float in 0..255. Out: differences in units of 1/255, ratios, or dB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.generic]
Mask = NDArray[np.bool_]


def frame_differences(frames: Frames, where: Mask | None = None) -> NDArray[np.float64]:
    """(f - 1,) mean absolute difference of each frame to the one before; `where` (H, W) limits it to some pixels."""
    values = _selected(frames, where)
    return np.asarray(np.abs(np.diff(values, axis=0)).mean(axis=(1, 2)), np.float64)


def seam_ratio(frames: Frames, borders: Sequence[int]) -> float:
    """Mean difference across clip borders over the median inside clips. A border is the first frame of a clip.

    nan where there is no border or nothing moves inside.
    """
    differences = frame_differences(frames)
    across = np.zeros(len(differences), bool)
    across[[border - 1 for border in borders]] = True
    inside = float(np.median(differences[~across])) if (~across).any() else 0.0
    return float(differences[across].mean()) / inside if across.any() and inside > 0 else float("nan")


def still_mask(shape: tuple[int, int], *boxes: NDArray[np.floating], grow: float = 2.0) -> Mask:
    """(H, W) true where no box (f, 4) of any frame reaches; boxes in pixels, grown by `grow`."""
    mask = np.ones(shape, bool)
    for left, top, right, bottom in np.concatenate(boxes):
        rows = slice(max(0, int(np.floor(top - grow))), max(0, int(np.ceil(bottom + grow))))
        mask[rows, max(0, int(np.floor(left - grow))) : max(0, int(np.ceil(right + grow)))] = False
    return mask


def flicker_ratio(generated: Frames, truth: Frames, where: Mask) -> float:
    """Frame-to-frame difference of the generated frames over the truth's, in the pixels of `where`."""
    true = float(frame_differences(truth, where).mean())
    return float(frame_differences(generated, where).mean()) / max(true, 1e-9)


def colour_drift(frames: Frames, window: int) -> float:
    """Largest change of the mean colour (any channel, in 1/255) from the first `window` frames to a later window."""
    means = _selected(frames, None).mean(axis=1)  # (f, 3)
    blocks = [means[start : start + window].mean(axis=0) for start in range(0, len(means) - window + 1, window)]
    return float(max((np.abs(block - blocks[0]).max() for block in blocks[1:]), default=0.0))


def colour_shift(generated: Frames, truth: Frames, where: Mask | None = None) -> float:
    """Root mean square over pixels and channels of the difference of the mean pictures, in 1/255: wrong colours, and
    what is elsewhere in the mean. Frames (f, H, W, 3) of any two numbers of frames; `where` (H, W) limits it."""
    difference = _selected(generated, where).mean(axis=0) - _selected(truth, where).mean(axis=0)
    return float(np.sqrt(np.square(difference).mean()))


def areas(frames: Frames, cells: int) -> Frames:
    """Frames (f, H, W, 3) as the means of `cells` x `cells` areas: colours without edges, which a movement of a few
    pixels turns into differences. Sides are cut to whole areas."""
    height, width = (side // cells * cells for side in frames.shape[1:3])
    cut = np.asarray(frames[:, :height, :width], np.float32)
    return np.asarray(cut.reshape(len(cut), cells, height // cells, cells, width // cells, 3).mean(axis=(2, 4)))


def psnr(generated: Frames, truth: Frames, boxes: NDArray[np.floating] | None = None) -> float:
    """Peak signal-to-noise ratio in dB over all pixels, or over those inside one box (f, 4) per frame."""
    error = np.square(np.asarray(generated, np.float64) - np.asarray(truth, np.float64))
    if boxes is not None:
        error = np.concatenate([crop.ravel() for crop in crops(error, boxes)])
    return float(-10 * np.log10(max(float(error.mean()), 1e-9) / 255**2))


def laplacian_energy(picture: Frames, where: Mask) -> float:
    """Mean square of the Laplacian (four neighbours) of the grey picture (H, W, 3), over the pixels of `where`: how
    much fine detail there is. nan where there is no pixel."""
    grey = np.asarray(picture, np.float64).mean(axis=-1)
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    chosen = laplacian[where[1:-1, 1:-1]]
    return float(np.square(chosen).mean()) if chosen.size else float("nan")


def crops(frames: Frames, boxes: NDArray[np.floating]) -> list[Frames]:
    """Per frame the part inside its box, (h, w, 3), cut at the picture's edge."""
    cut = []
    for frame, (left, top, right, bottom) in zip(frames, np.round(boxes).astype(int), strict=True):
        cut.append(frame[max(0, top) : max(1, bottom), max(0, left) : max(1, right)])
    return cut


def _selected(frames: Frames, where: Mask | None) -> NDArray[np.float32]:
    """(f, pixels, 3)."""
    if where is not None and where.any():
        return np.asarray(frames[:, where], np.float32)
    return np.asarray(frames, np.float32).reshape(len(frames), -1, frames.shape[-1])
