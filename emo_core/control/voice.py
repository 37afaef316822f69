"""How loud a voice is, frame by frame: in, a Waveform; out, a level (f,) in 0..1, as slow as heads are."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from ..data import Waveform

RANGE_DB = 30.0  # from the loud parts of speech down to what counts as silence
LOUD_QUANTILE = 0.95
SMOOTH_S = 0.5  # heads follow phrases, not syllables


def voice_level(voice: Waveform, frames: int, fps: float) -> Tensor:
    """0 in silence, 1 where the voice is loudest, for each of `frames` frames; 0 throughout a silent recording."""
    energy = _smooth(frame_energy(voice, frames, fps), max(1, round(SMOOTH_S * fps)))
    loud = float(torch.quantile(energy, LOUD_QUANTILE)) if frames > 1 else float(energy.max())
    if loud <= 1e-8:  # -80 dB
        return torch.zeros(frames)
    decibels = 10 * torch.log10((energy / loud).clamp(min=1e-12))
    return (1 + decibels / RANGE_DB).clamp(0, 1)


def frame_energy(voice: Waveform, frames: int, fps: float) -> Tensor:
    """Mean square (f,) of the samples that belong to each frame; 0 where there are none."""
    samples = voice.samples.detach().to("cpu", torch.float32).mean(0)
    total = torch.cat([torch.zeros(1, dtype=torch.float64), samples.double().square().cumsum(0)])
    edges = [min(round(i / fps * voice.sample_rate), len(samples)) for i in range(frames + 1)]
    sums = total[edges[1:]] - total[edges[:-1]]
    counts = torch.tensor([max(1, b - a) for a, b in itertools.pairwise(edges)])
    return (sums / counts).float().clamp(min=0)


def _smooth(values: Tensor, window: int) -> Tensor:
    """A Hann window over values (f,), renormalised at the ends."""
    reach = window // 2
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = (torch.cos(steps / (reach + 1) * math.pi) + 1).view(1, 1, -1)
    both = torch.stack([values, torch.ones_like(values)]).unsqueeze(1)
    summed, weight = torch.nn.functional.conv1d(both, kernel, padding=reach).squeeze(1)
    return summed / weight
