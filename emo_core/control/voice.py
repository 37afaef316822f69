"""How loud a voice is and what it stresses, frame by frame: in, a Waveform; out, values (f,) in 0..1."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from ..data import Waveform

RANGE_DB = 30.0  # from the loud parts of speech down to what counts as silence
LOUD_QUANTILE = 0.95
SMOOTH_S = 0.5  # heads follow phrases, not syllables
WORD_S, PHRASE_S = 0.24, 1.6
STRESS_DB = 4.5  # above its phrase a word counts as wholly stressed
PAUSE = 0.45  # of the level, smoothed over words: below this nothing is said


def voice_level(voice: Waveform, frames: int, fps: float) -> Tensor:
    """0 in silence, 1 where the voice is loudest, for each of `frames` frames; 0 throughout a silent recording."""
    return _level(voice, frames, fps, SMOOTH_S)


def voice_stress(voice: Waveform, frames: int, fps: float) -> Tensor:
    """1 in the words that stand out from the phrase around them, 0 elsewhere and in pauses."""
    level = _level(voice, frames, fps, WORD_S)
    phrase = hann_mean(level, max(1, round(PHRASE_S * fps)))
    return ((level - phrase) * RANGE_DB / STRESS_DB).clamp(0, 1) * (level > PAUSE)


def _level(voice: Waveform, frames: int, fps: float, smooth_s: float) -> Tensor:
    energy = hann_mean(frame_energy(voice, frames, fps), max(1, round(smooth_s * fps)))
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


def hann_mean(values: Tensor, window: int) -> Tensor:
    """Means under a Hann window over values (f,), renormalised at the ends."""
    reach = window // 2
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = (torch.cos(steps / (reach + 1) * math.pi) + 1).view(1, 1, -1)
    both = torch.stack([values, torch.ones_like(values)]).unsqueeze(1)
    summed, weight = torch.nn.functional.conv1d(both, kernel, padding=reach).squeeze(1)
    return summed / weight
