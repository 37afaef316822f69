"""What the encoder hears: one channel, 16 kHz, an exact length, zero mean and unit variance over the whole file.

Sound in and out as `Waveform` or as samples (..., t) float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..channels import to_stereo
from ..data import Waveform
from ..errors import EmoInputError
from .heard import heard
from .resample import resample, resampled
from .room import MAX_LEAD_S, fit_length, padded, silent

ENCODER_RATE = 16_000  # Hz, wav2vec2's
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # Hz
COMMON_RATE = 48_000  # Hz, for what is recorded above all of these


def mono_16k(waveform: Waveform) -> Tensor:
    """What is heard of all channels, at 16 kHz: (t,) float32, t = ceil(seconds * 16000). Memory of its own."""
    return resampled(heard(waveform), waveform.samples.shape[-1], waveform.sample_rate, ENCODER_RATE)


def lead_frames(seconds: float, fps: float, *, name: str = "lead_in") -> int:
    """Whole video frames of a lead-in or lead-out of so many seconds, so that the voice stays in step."""
    if not 0 <= seconds <= MAX_LEAD_S:
        raise EmoInputError(name, f"{seconds} s", f"0 to {MAX_LEAD_S:g} seconds")
    return round(seconds * fps)


def with_lead(waveform: Waveform, fps: float, lead_in: int, lead_out: int) -> Waveform:
    """The sound of its round(seconds * fps) frames, with so many frames of silence before and after; as it is where
    neither is asked for."""
    if not lead_in and not lead_out:
        return waveform
    rate = waveform.sample_rate
    frames = max(1, round(waveform.duration_s * fps))
    first, last = round(lead_in / fps * rate), round((lead_in + frames) / fps * rate)
    voice = fit_length(waveform.samples, last - first)
    whole = round((lead_in + frames + lead_out) / fps * rate)
    return Waveform(padded(voice, first, whole - last), rate)


def fit_video(waveform: Waveform, frames: int, fps: float) -> Waveform:
    """The sound of exactly `frames` video frames, at its own rate and with its own channels."""
    length = round(frames / fps * waveform.sample_rate)
    return Waveform(fit_length(waveform.samples, length), waveform.sample_rate)


def playable(waveform: Waveform) -> Waveform:
    """The sound as players and video files take it: mono or stereo, at a rate that AAC knows; its length stays to
    within a sample."""
    samples, rate = to_stereo(waveform.samples), waveform.sample_rate
    if rate in AAC_RATES:
        return Waveform(samples, rate)
    new_rate = next((known for known in AAC_RATES[:-2] if known >= rate), COMMON_RATE)
    out = silent((samples.shape[0], round(samples.shape[-1] * new_rate / rate)), new_rate)
    for channel, target in zip(samples, out, strict=True):
        target.copy_(fit_length(resample(channel, rate, new_rate), len(target)))
    return Waveform(out, new_rate)


def normalise(samples: Tensor, *, in_place: bool = False) -> Tensor:
    """Zero mean and unit variance over the last axis, as Wav2Vec2FeatureExtractor does (its 1e-7 included).

    Sound below -80 dB stays small instead of being blown up to full level. `in_place`: the samples themselves change.
    """
    mean = samples.mean(dim=-1, keepdim=True)
    variance = samples.var(dim=-1, keepdim=True, unbiased=False)
    centred = samples.sub_(mean) if in_place else samples - mean
    return centred.div_(torch.sqrt(variance + 1e-7))
