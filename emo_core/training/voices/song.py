"""Sung notes without a recording: a sum of harmonics under the formants of known vowels.

Out: an `Utterance` of notes, each a vowel behind one of a few consonants, with glides, vibrato and held tones: what
flite cannot do and a talking head must survive. Formants: Peterson & Barney 1952, men's averages, in Hz.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .phones import SILENCE, Phone
from .speech import SAMPLE_RATE, Utterance

FloatArray = NDArray[np.float64]

_FORMANTS: dict[str, tuple[float, float, float]] = {
    "iy": (270, 2290, 3010),
    "ih": (390, 1990, 2550),
    "eh": (530, 1840, 2480),
    "ae": (660, 1720, 2410),
    "aa": (730, 1090, 2440),
    "ao": (570, 840, 2410),
    "uh": (440, 1020, 2240),
    "uw": (300, 870, 2240),
    "ah": (640, 1190, 2390),
    "er": (490, 1350, 1690),
    "ow": (450, 850, 2400),  # a held o lies between ao and uw
}
_CONSONANTS: dict[str, tuple[tuple[float, float, float], float]] = {  # formants in Hz and level against the vowel
    "m": ((260, 1000, 2200), 0.18),
    "n": ((270, 1450, 2300), 0.18),
    "l": ((360, 1150, 2700), 0.35),
    "w": ((300, 650, 2200), 0.35),
    "y": ((270, 2250, 3000), 0.4),
    "b": ((220, 800, 2200), 0.03),
    "d": ((220, 1600, 2600), 0.03),
}
_BANDWIDTHS_HZ = (80.0, 100.0, 140.0)
_CONTROL_HZ = 200
_HARMONICS_BELOW_HZ = 7_000.0


def sing(rng: np.random.Generator, duration_s: float) -> Utterance:
    """A phrase of about `duration_s` seconds of a random singer."""
    phones, targets, levels, pitch = _score(rng, duration_s)
    n = round(phones[-1].end_s * _CONTROL_HZ)
    t = (np.arange(n) + 0.5) / _CONTROL_HZ
    index = np.searchsorted([p.end_s for p in phones], t).clip(0, len(phones) - 1)
    formants = _smooth(np.asarray(targets)[index] * rng.uniform(0.9, 1.22), 0.025)  # another vocal tract
    level = _smooth(np.asarray(levels)[index][:, None], 0.012)[:, 0]
    vibrato = rng.uniform(0, 0.025) * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * t + rng.uniform(0, 6.28))
    f0 = np.exp(_smooth(np.log(np.asarray(pitch)[index])[:, None], rng.uniform(0.01, 0.08))[:, 0] + vibrato)
    samples = _harmonics(f0, formants, level, rng)
    samples *= rng.uniform(0.3, 0.9) / max(float(np.abs(samples).max()), 1e-6)
    return Utterance(samples.astype(np.float32), tuple(phones), "song", "")


def _score(
    rng: np.random.Generator, duration_s: float
) -> tuple[list[Phone], list[tuple[float, float, float]], list[float], list[float]]:
    """Phones with times, and for each its formants, level and fundamental in Hz."""
    phones, targets, levels, pitches = [], [], [], []
    now, tonic = 0.0, 110.0 * 2 ** rng.uniform(0, 1.6)

    def add(label: str, seconds: float, formants: tuple[float, float, float], level: float, pitch: float) -> None:
        nonlocal now
        phones.append(Phone(label, now, now + seconds))
        now += seconds
        targets.append(formants)
        levels.append(level)
        pitches.append(pitch)

    add(SILENCE, rng.uniform(0.1, 0.5), _FORMANTS["ah"], 0.0, tonic)
    while now < duration_s:
        pitch = tonic * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
        vowel = str(rng.choice(list(_FORMANTS)))
        loud = rng.uniform(0.4, 1.0)
        if rng.random() < 0.75:
            consonant = str(rng.choice(list(_CONSONANTS)))
            formants, share = _CONSONANTS[consonant]
            add(consonant, rng.uniform(0.06, 0.16), formants, share * loud, pitch)
        add(vowel, float(rng.choice([0.15, 0.3, 0.6, 1.2]) * rng.uniform(0.8, 1.25)), _FORMANTS[vowel], loud, pitch)
        if rng.random() < 0.2:
            add(SILENCE, rng.uniform(0.12, 0.6), _FORMANTS[vowel], 0.0, pitch)
    add(SILENCE, rng.uniform(0.15, 0.5), _FORMANTS["ah"], 0.0, tonic)
    return phones, targets, levels, pitches


def _smooth(track: FloatArray, sigma_s: float) -> FloatArray:
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(track, sigma_s * _CONTROL_HZ, axis=0, mode="nearest"))


def _harmonics(f0: FloatArray, formants: FloatArray, level: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The sound (t,) of a glottal source with `rng`'s tilt, through three resonances."""
    n = len(f0) * SAMPLE_RATE // _CONTROL_HZ
    at = np.arange(n) * (_CONTROL_HZ / SAMPLE_RATE) - 0.5
    control = np.arange(len(f0))
    phase = 2 * np.pi * np.cumsum(np.interp(at, control, f0)) / SAMPLE_RATE
    out = np.zeros(n)
    tilt = rng.uniform(0.8, 1.5)  # 1: the glottis falls by 6 dB an octave after radiation
    for k in range(1, int(_HARMONICS_BELOW_HZ / f0.min()) + 1):
        frequency = k * f0
        gain = level * k**-tilt * (frequency < _HARMONICS_BELOW_HZ)
        for centre, width in zip(formants.T, _BANDWIDTHS_HZ, strict=True):
            gain = gain * centre**2 / np.sqrt((centre**2 - frequency**2) ** 2 + (width * frequency) ** 2)
        out += np.interp(at, control, gain) * np.sin(k * phase + rng.uniform(0, 6.28))
    breath = rng.standard_normal(n) * np.interp(at, control, level) * float(np.abs(out).mean()) * rng.uniform(0.01, 0.1)
    return out + breath + rng.standard_normal(n) * 10 ** rng.uniform(-5, -3.5) * float(np.abs(out).max())
