"""What the encoder hears: one channel, 16 kHz, an exact length, zero mean and unit variance over the whole file.

Sound in and out as `Waveform` or as samples (..., t) float32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..data import Waveform
from ..errors import EmoInputError
from ..libraries import UnusableLibrary, importing

ENCODER_RATE = 16_000  # Hz, wav2vec2's
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # Hz
COMMON_RATE = 48_000  # Hz, for what is recorded above all of these
MAX_LEAD_S = 10.0


def mono_16k(waveform: Waveform) -> Tensor:
    """The mean of the channels at 16 kHz: (t,) float32, t = ceil(seconds * 16000)."""
    samples = waveform.samples.detach().to("cpu", torch.float32).mean(dim=0)
    return resample(samples, waveform.sample_rate, ENCODER_RATE)


def resample(samples: Tensor, rate: int, new_rate: int) -> Tensor:
    """Samples (t,) at another rate, through soxr (librosa's default), or librosa's own where soxr is missing."""
    if rate == new_rate:
        return samples
    length = math.ceil(samples.shape[-1] * new_rate / rate)
    try:
        with importing("soxr"):
            import soxr

        out = soxr.resample(samples.numpy(), rate, new_rate, quality="HQ")
    except UnusableLibrary:
        with importing("librosa"):
            import librosa

        out = librosa.resample(samples.numpy(), orig_sr=rate, target_sr=new_rate, res_type="polyphase")
    return fit_length(torch.from_numpy(out).float(), length)


def fit_length(samples: Tensor, length: int) -> Tensor:
    """Samples (..., t) cut, or padded with silence at the end, to exactly `length`."""
    missing = length - samples.shape[-1]
    return torch.nn.functional.pad(samples, (0, missing)) if missing > 0 else samples[..., :length]


def pad(samples: Tensor, silence: tuple[int, int]) -> Tensor:
    """Samples (..., t) with so many samples of silence before and after."""
    return torch.nn.functional.pad(samples, silence) if any(silence) else samples


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
    return Waveform(pad(voice, (first, whole - last)), rate)


def fit_video(waveform: Waveform, frames: int, fps: float) -> Waveform:
    """The sound of exactly `frames` video frames, at its own rate and with its own channels."""
    length = round(frames / fps * waveform.sample_rate)
    return Waveform(fit_length(waveform.samples, length), waveform.sample_rate)


def playable(waveform: Waveform) -> Waveform:
    """The sound as players and video files take it: mono or stereo (more channels become their mean), at a rate that
    AAC knows; its length stays to within a sample."""
    samples, rate = waveform.samples, waveform.sample_rate
    if samples.shape[0] > 2:
        samples = samples.mean(dim=0, keepdim=True)
    if rate in AAC_RATES:
        return Waveform(samples, rate)
    new_rate = next((known for known in AAC_RATES[:-2] if known >= rate), COMMON_RATE)
    length = round(samples.shape[-1] * new_rate / rate)
    channels = [resample(channel.detach().to("cpu", torch.float32), rate, new_rate) for channel in samples]
    return Waveform(fit_length(torch.stack(channels), length), new_rate)


def normalise(samples: Tensor) -> Tensor:
    """Zero mean and unit variance over the last axis, as Wav2Vec2FeatureExtractor does (its 1e-7 included).

    Sound below -80 dB stays small instead of being blown up to full level.
    """
    mean = samples.mean(dim=-1, keepdim=True)
    variance = samples.var(dim=-1, keepdim=True, unbiased=False)
    return (samples - mean) / torch.sqrt(variance + 1e-7)
