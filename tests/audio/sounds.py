"""Small sounds for the tests of reading: a voice that is never the same twice, and files of it in many formats."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from emo_core.data import Waveform

Samples = NDArray[np.float32]
RATE = 48_000


def voice(seconds: float, rate: int = RATE, seed: int = 0) -> Samples:
    """Noise in words: (t,), band-limited so that every codec keeps it, and unlike itself at every other time."""
    chance = np.random.default_rng(seed)
    count = round(seconds * rate)
    spectrum = np.fft.rfft(chance.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / rate)
    spectrum[(hertz < 150) | (hertz > 2500)] = 0
    sound = np.fft.irfft(spectrum, count)
    levels = chance.uniform(0.2, 1, count * 8 // rate + 2)  # eight a second
    sound *= np.interp(np.arange(count) * 8 / rate, np.arange(len(levels)), levels)
    return (0.4 * sound / np.abs(sound).max()).astype(np.float32)


def encode(
    path: Path,
    codec: str,
    samples: Samples,
    rate: int = RATE,
    *,
    layout: str = "mono",
    container: str | None = None,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    start_s: float = 0.0,
    skip: Callable[[float], bool] | None = None,
    pictures_s: float = 0.0,
    title: str | None = None,
) -> Path:
    """(t,) or (channels, t) through FFmpeg; packets for whose time `skip` says so are left out, `pictures_s` seconds of
    grey pictures at 25 a second come first."""
    samples = np.atleast_2d(samples)
    with av.open(str(path), "w", format=container, options=muxer or {}) as out:
        if title is not None:
            out.metadata["title"] = title
        film = out.add_stream("mpeg4", rate=25) if pictures_s else None
        track = out.add_stream(codec, rate=rate, layout=layout, options=options or {})
        if film is not None:
            film.width = film.height = 32
            for index in range(round(pictures_s * 25)):
                picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 128, np.uint8), format="rgb24")
                picture.pts, picture.time_base = index, Fraction(1, 25)
                out.mux(film.encode(picture))
            out.mux(film.encode(None))
        resampler = av.AudioResampler(format=track.codec_context.format, layout=layout, rate=rate)
        for first in range(0, samples.shape[1], 1024):
            part = np.ascontiguousarray(samples[:, first : first + 1024].T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(part, format="flt", layout=layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = first + round(start_s * rate)
            for converted in resampler.resample(frame):
                for packet in track.encode(converted):
                    if skip is None or not skip(float(packet.pts * packet.time_base)):
                        out.mux(packet)
        out.mux(track.encode(None))
    return path


def write(path: Path, samples: Samples, rate: int = RATE, **more: str) -> Path:
    """(t,) or (channels, t) through libsndfile."""
    soundfile.write(path, samples.T, rate, **more)
    return path


def delay_s(sound: Waveform, original: Samples, rate: int = RATE, *, at_s: float, seconds: float = 0.5) -> float:
    """By how much later than in `original` (t,) the `seconds` from `at_s` on are heard; within half a second."""
    heard = sound.samples.float().mean(dim=0).numpy()
    if sound.sample_rate != rate:
        import soxr

        heard = soxr.resample(heard, sound.sample_rate, rate)
    reach = rate // 2
    first, count = round(at_s * rate), round(seconds * rate)
    part = original[first : first + count]
    around = np.zeros(count + 2 * reach, np.float32)
    begin = max(0, first - reach)
    found = heard[begin : first + count + reach]
    around[begin - (first - reach) :][: len(found)] = found
    size = len(around) + count
    likeness = np.fft.irfft(np.fft.rfft(around, size) * np.conj(np.fft.rfft(part, size)), size)[: 2 * reach + 1]
    best = int(likeness.argmax())
    strength = likeness[best] / (np.linalg.norm(part) * max(1e-9, float(np.linalg.norm(around[best : best + count]))))
    assert strength > 0.5, f"not heard around {at_s} s ({strength:.2f})"
    return (best - reach) / rate


def is_silent(sound: Waveform, first_s: float, last_s: float) -> bool:
    part = sound.samples[:, round(first_s * sound.sample_rate) : round(last_s * sound.sample_rate)]
    return bool(torch.all(part.abs() < 1e-3))
