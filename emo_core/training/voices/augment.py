"""What happens to a voice between a mouth and our microphone: other throats, rooms, filters, noise, clipping.

In and out: batches (b, t) float32 at 16 kHz, all changes of the sound that leave the mouth as it is. The encoder's
training applies them so that it hears phones and not a synthesiser.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .speech import SAMPLE_RATE

_CURVE_POINTS = 10  # of a random frequency response, evenly spaced on a mel-like axis
_WINDOW, _HOP = 512, 128  # samples: 32 and 8 ms
_LIFTER = 28  # of the cepstrum, samples: what is smoother than 570 Hz is the throat's, not the glottis's
_LOUDER = 3.0  # nepers: no formant is put where there is nothing to amplify


def augment(samples: Tensor, generator: torch.Generator) -> Tensor:
    """A differently recorded copy of each row of `samples` (b, t)."""
    rows, length = samples.shape
    samples = other_throats(samples, generator)
    level = samples.square().mean(dim=1, keepdim=True).sqrt() + 1e-5
    spectrum = torch.fft.rfft(samples / level)
    spectrum = spectrum * _response(rows, spectrum.shape[1], generator)
    spectrum = spectrum * torch.fft.rfft(_room(rows, generator), n=length)
    out = torch.fft.irfft(spectrum, n=length)
    out = out + _noise(out, generator)
    # Clipping and cheap loudspeakers: every eighth row is squeezed.
    drive = torch.where(_uniform(rows, 0, 1, generator) < 0.125, _uniform(rows, 0.5, 3.0, generator), 0.0)
    squeezed = torch.tanh(out * drive.clamp(min=1e-3)) / drive.clamp(min=1e-3)
    return torch.where(drive > 0, squeezed, out)


def other_throats(samples: Tensor, generator: torch.Generator) -> Tensor:
    """The same words and pitch from other people, (b, t): for three rows of four the formants lie elsewhere, all of
    them by -18 to 22 %, and each by some more of its own, as accents have it.

    Three synthetic voices are learnt by heart: trained without this, an encoder came from r .90 to .96 for the jaw
    of new sentences, from .88 to .89 for a new voice, and for a real man's mouth (GRID) from .71 to .70.
    """
    length = samples.shape[1]
    window = torch.hann_window(_WINDOW)
    spectrum = torch.stft(samples, _WINDOW, _HOP, window=window, return_complex=True)  # (b, f, n)
    loud = (spectrum.abs() + 1e-3 * spectrum.abs().mean(dim=(1, 2), keepdim=True) + 1e-7).log()
    cepstrum = torch.fft.irfft(loud, dim=1)
    cepstrum[:, _LIFTER : _WINDOW - _LIFTER + 1] = 0
    envelope = torch.fft.rfft(cepstrum, dim=1).real
    from_where = _warps(len(samples), generator) * (loud.shape[1] - 1)  # (b, f) bins
    low = from_where.long().clamp(0, loud.shape[1] - 2)
    share = (from_where - low)[..., None]
    every = low[..., None].expand_as(envelope)
    moved = envelope.gather(1, every) * (1 - share) + envelope.gather(1, every + 1) * share
    gain = (moved - envelope).clamp(-_LOUDER, _LOUDER).exp()
    return torch.istft(spectrum * gain, _WINDOW, _HOP, window=window, length=length)


def _warps(rows: int, generator: torch.Generator) -> Tensor:
    """For each of the bins (b, f) from which one its envelope is taken, both as shares 0..1 of half the rate."""
    place = torch.linspace(0, 1, _WINDOW // 2 + 1)
    scale = torch.where(_uniform(rows, 0, 1, generator) < 0.75, _uniform(rows, -0.2, 0.2, generator), 0.0)
    own = torch.randn(rows, 1, 9, generator=generator) * 0.05 * (scale != 0)[:, None]  # a formant each kHz or so
    bent = torch.nn.functional.interpolate(own, size=len(place), mode="linear", align_corners=True)[:, 0]
    return (place * (scale + bent).exp()).clamp(0, 1)


def _uniform(rows: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """(rows, 1) numbers between low and high."""
    return low + (high - low) * torch.rand(rows, 1, generator=generator)


def _response(rows: int, bins: int, generator: torch.Generator) -> Tensor:
    """Gains (rows, bins): a tilt, random bumps, sometimes no treble (telephone, low bit rates) or a missing band."""
    frequency = torch.linspace(0, SAMPLE_RATE / 2, bins)
    place = torch.log1p(frequency / 700.0) / math.log1p(SAMPLE_RATE / 2 / 700.0)  # 0..1 along the mel scale
    bumps = torch.randn(rows, 1, _CURVE_POINTS, generator=generator) * _uniform(rows, 0, 6.0, generator)[:, None]
    curve = torch.nn.functional.interpolate(bumps, size=257, mode="linear", align_corners=True)[:, 0]
    gain_db = curve[:, (place * 256).long()]
    gain_db = gain_db + _uniform(rows, -14.0, 14.0, generator) * (place - 0.4)
    cutoff = torch.where(_uniform(rows, 0, 1, generator) < 0.3, _uniform(rows, 0.62, 0.95, generator), 2.0)
    gain_db = gain_db - 50.0 * (place > cutoff)
    middle = _uniform(rows, 0.0, 1.0, generator)
    missing = ((place - middle).abs() < 0.04) & (_uniform(rows, 0, 1, generator) < 0.3)
    return 10 ** ((gain_db - 30.0 * missing) / 20)


def _room(rows: int, generator: torch.Generator) -> Tensor:
    """Impulse responses (rows, t): the direct sound, and for half of the rows a decaying tail of noise."""
    length = int(0.35 * SAMPLE_RATE)
    t = torch.arange(length) / SAMPLE_RATE
    decay = torch.exp(-t * 6.9 / _uniform(rows, 0.1, 0.6, generator))  # -60 dB after 0.1 to 0.6 s
    tail = torch.randn(rows, length, generator=generator) * decay
    tail = tail / tail.norm(dim=1, keepdim=True)
    share = torch.where(_uniform(rows, 0, 1, generator) < 0.5, _uniform(rows, 0.1, 0.8, generator), 0.0)
    tail = tail * share
    tail[:, 0] += 1.0
    return tail


def _noise(samples: Tensor, generator: torch.Generator) -> Tensor:
    """Coloured noise (b, t) 8 to 60 dB below the sound, and for a fifth of the rows another voice far behind."""
    rows, length = samples.shape
    level = samples.square().mean(dim=1, keepdim=True).sqrt()
    white = torch.fft.rfft(torch.randn(rows, length, generator=generator))
    frequency = torch.linspace(0, 1, white.shape[1])
    colour = frequency.clamp(min=5e-3) ** (-_uniform(rows, 0.0, 1.0, generator))  # no steeper below 40 Hz
    noise = torch.fft.irfft(white * colour * (frequency > 0), n=length)
    noise = noise / (noise.square().mean(dim=1, keepdim=True).sqrt() + 1e-6)
    noise = noise * level * 10 ** (-_uniform(rows, 8.0, 60.0, generator) / 20)
    behind = torch.where(_uniform(rows, 0, 1, generator) < 0.2, _uniform(rows, 0.02, 0.12, generator), 0.0)
    return noise + samples.roll(length // 2, dims=1).flip(0) * behind
