"""One window of encoder features per video frame (paper 3.2: frames f-m .. f+m, edges repeated).

In: a `Waveform` of any rate and the video's fps. Out: `AudioFeatures` with exactly `round(seconds * fps)` windows and
the sound that belongs to them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import AudioProjectionConfig
from ..data import AudioFeatures, Waveform
from .encoder import AudioEncoder
from .file import check_waveform
from .waveform import ENCODER_RATE, fit_length, fit_video, mono_16k, normalise

# Up to here a file goes through the encoder at once, which is exact. Longer ones go in pieces of this length that see
# a margin on both sides: attention is quadratic, and an hour at once would need minutes and gigabytes.
PIECE_S = 120.0
MARGIN_S = 8.0


def frame_count(waveform: Waveform, fps: float) -> int:
    """Video frames of the sound: `round(seconds * fps)`, at least one."""
    return max(1, round(waveform.duration_s * fps))


def encode_windows(features: Tensor, window: int) -> Tensor:
    """Windows (f, 2 * window + 1, l, d) around each frame of features (f, l, d); the edge frames are repeated."""
    frames = features.shape[0]
    offsets = torch.arange(-window, window + 1, device=features.device)
    index = (torch.arange(frames, device=features.device)[:, None] + offsets).clamp(0, frames - 1)
    return features[index]


@torch.no_grad()
def encode_frames(encoder: AudioEncoder, waveform: Waveform, fps: float) -> Tensor:
    """Encoder features (f, l, d), one per video frame, on the encoder's device."""
    frames = frame_count(waveform, fps)
    weight = next(encoder.parameters())
    samples = fit_length(mono_16k(waveform), round(frames / fps * ENCODER_RATE))
    samples = normalise(samples).to(weight.device, weight.dtype)
    parts = []
    for start, stop, first, last in _pieces(frames, fps):
        cut = samples[round(first / fps * ENCODER_RATE) : round(last / fps * ENCODER_RATE)]
        parts.append(encoder(cut[None], frames=last - first)[0, start - first : stop - first])
    return torch.cat(parts)


def audio_features(
    encoder: AudioEncoder, waveform: Waveform, fps: float, projection: AudioProjectionConfig
) -> AudioFeatures:
    """What the network hears of a recording: windows (f, 2m + 1, l, d), m = `projection.window`.

    `.waveform` is the sound cut or padded to the video's f / fps seconds. EmoInputError for sound that cannot be used.
    """
    check_waveform(waveform, fps)
    features = encode_frames(encoder, waveform, fps)
    if projection.features == "last_layer":
        features = features[:, -1:]
    windows = encode_windows(features, projection.window)
    return AudioFeatures(windows=windows, fps=fps, waveform=fit_video(waveform, len(windows), fps))


def _pieces(frames: int, fps: float) -> list[tuple[int, int, int, int]]:
    """(start, stop, first, last) in frames: features start..stop are taken from the sound of first..last."""
    length, margin = round(PIECE_S * fps), round(MARGIN_S * fps)
    if frames <= length + 2 * margin:
        return [(0, frames, 0, frames)]
    starts = range(0, frames, length)
    return [(s, min(s + length, frames), max(0, s - margin), min(s + length + margin, frames)) for s in starts]
