"""Samples with silence around them in memory: in, a tensor (..., t); out, a longer or shorter one without a copy.

An hour of stereo is more than a gigabyte, and a video's sound is nearly always some samples longer or shorter than its
recording. What is allocated here has ten seconds of zeros before and after every channel; `padded` hands out a wider
view of them. Whether there are any is read off the memory itself, so every other tensor is simply copied.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

MAX_LEAD_S = 10.0  # of silence before or after a voice, at most
_FASTEST = 192_000  # Hz; a header may say anything


def silent(shape: tuple[int, ...], sample_rate: int) -> Tensor:
    """Zeros of this shape (..., t), with room on both sides."""
    room = round((MAX_LEAD_S + 1) * min(sample_rate, _FASTEST))
    memory = np.zeros((*shape[:-1], shape[-1] + 2 * room), np.float32)  # torch's own would touch all of it at once
    return torch.from_numpy(memory)[..., room : room + shape[-1]]


def padded(samples: Tensor, before: int, after: int) -> Tensor:
    """Samples (..., t) with so many zeros before and after: a view where they lie there already."""
    if not before and not after:
        return samples
    wider = _wider(samples, before, after)
    return torch.nn.functional.pad(samples, (before, after)) if wider is None else wider


def fit_length(samples: Tensor, length: int) -> Tensor:
    """Samples (..., t) cut, or padded with silence at the end, to exactly `length`."""
    missing = length - samples.shape[-1]
    return padded(samples, 0, missing) if missing > 0 else samples[..., :length]


def _wider(samples: Tensor, before: int, after: int) -> Tensor | None:
    """The same memory seen further to both sides, if that belongs to each row alone and is zero."""
    length = samples.shape[-1]
    width = before + length + after
    if samples.ndim > 2 or not samples.numel() or samples.stride(-1) != 1 or samples.requires_grad:
        return None
    rows, stride = (1, width) if samples.ndim == 1 else (samples.shape[0], samples.stride(0))
    first = samples.storage_offset() - before
    there = samples.untyped_storage().nbytes() // samples.element_size()
    if first < 0 or (rows > 1 and stride < width) or first + (rows - 1) * stride + width > there:
        return None
    strides = (1,) if samples.ndim == 1 else (stride, 1)
    wider = samples.as_strided((*samples.shape[:-1], width), strides, first)
    if bool(wider[..., :before].any()) or bool(wider[..., before + length :].any()):
        return None
    return wider
