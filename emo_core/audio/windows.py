"""One window of encoder features per video frame (paper 3.2: frames f-m .. f+m, edges repeated).

In: a `Waveform` of any rate and the video's fps. Out: `AudioFeatures` with exactly `round(seconds * fps)` windows and
the sound that belongs to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..config import AudioProjectionConfig
from ..data import AudioFeatures, Waveform
from .encoder import AudioEncoder
from .file import check_waveform
from .waveform import ENCODER_RATE, fit_length, fit_video, mono_16k, normalise
from .whisper import WhisperEncoder, frame_windows

# Up to here a file goes through the encoder at once, which is exact. Longer ones go in pieces of this length that see
# a margin on both sides: attention is quadratic, and an hour at once would need minutes and gigabytes.
PIECE_S = 120.0
MARGIN_S = 8.0

OnPiece = Callable[[int, int], None]  # pieces done, pieces in all


def frame_count(waveform: Waveform, fps: float) -> int:
    """Video frames of the sound: `round(seconds * fps)`, at least one."""
    return max(1, round(waveform.duration_s * fps))


def encode_windows(features: Tensor, window: int) -> Tensor:
    """Windows (f, 2 * window + 1, l, d) around each frame of features (f, l, d); the edge frames are repeated.

    A view of the padded features, so that an hour of sound costs no more memory than its features.
    """
    first, last = (edge.expand(window, -1, -1) for edge in (features[:1], features[-1:]))
    return torch.cat([first, features, last]).unfold(0, 2 * window + 1, 1).permute(0, 3, 1, 2)


def encode_pairs(features: Tensor, window: int) -> Tensor:
    """Windows (f, 2 * (2 * window + 1), l, d) around each frame of features (2 f, l, d), zeros beyond the edges
    (V-Express). A view, as above."""
    edge = features.new_zeros(2 * window, *features.shape[1:])
    return torch.cat([edge, features, edge]).unfold(0, 2 * (2 * window + 1), 2).permute(0, 3, 1, 2)


@torch.no_grad()
def encode_frames(
    encoder: AudioEncoder | WhisperEncoder, waveform: Waveform, fps: float, on_piece: OnPiece | None = None
) -> Tensor:
    """Encoder features (f, l, d), one per video frame, on the encoder's device; two for V-Express, Whisper's own 50 Hz.

    `on_piece` hears how many pieces of how many are done, before each of them; what it raises comes through.
    """
    frames = frame_count(waveform, fps)
    if isinstance(encoder, WhisperEncoder):
        return encoder.encode(fit_length(mono_16k(waveform), round(frames / fps * ENCODER_RATE)), on_piece)
    frames, fps = frames * encoder.config.per_frame, fps * encoder.config.per_frame
    weight = next(encoder.parameters())
    samples = fit_length(mono_16k(waveform), round(frames / fps * ENCODER_RATE))
    samples = normalise(samples).to(weight.device, weight.dtype)
    pieces = _pieces(frames, fps)
    parts = []
    for done, (start, stop, first, last) in enumerate(pieces):
        if on_piece is not None:
            on_piece(done, len(pieces))
        cut = samples[round(first / fps * ENCODER_RATE) : round(last / fps * ENCODER_RATE)]
        parts.append(encoder(cut[None], frames=last - first)[0, start - first : stop - first])
    return torch.cat(parts)


def audio_features(
    encoder: AudioEncoder | WhisperEncoder,
    waveform: Waveform,
    fps: float,
    projection: AudioProjectionConfig,
    *,
    voice: Waveform | None = None,
) -> AudioFeatures:
    """What the network hears of a recording, or of `voice` in its place: windows (f, 2m + 1, l, d), m =
    `projection.window`.

    `.waveform` is the sound cut or padded to the video's f / fps seconds. EmoInputError for sound that cannot be used.
    """
    check_waveform(waveform, fps)
    heard = waveform if voice is None else fit_video(voice, frame_count(waveform, fps), fps)
    return window_features(encode_frames(encoder, heard, fps), waveform, fps=fps, projection=projection)


def window_features(
    features: Tensor, waveform: Waveform, *, fps: float, projection: AudioProjectionConfig
) -> AudioFeatures:
    """`audio_features` from features (f, l, d) that are there already."""
    if projection.features == "last_layer":
        features = features[:, -1:]
    if projection.kind == "none":
        windows = frame_windows(features, frame_count(waveform, fps), fps)
    elif projection.kind == "resampler":
        windows = encode_pairs(features, projection.window)
    else:
        windows = encode_windows(features, projection.window)
    return AudioFeatures(windows=windows, fps=fps, waveform=fit_video(waveform, len(windows), fps))


def resample_features(layers: Sequence[Tensor], frames: int) -> Tensor:
    """Hidden states of another encoder (1, t, d), one tensor per layer, at the video's frame rate: (frames, l, d).

    For features that were made outside, over the whole sound, at the encoder's own rate (V-Express does it so).
    """
    stacked = torch.cat([layer.float() for layer in layers]).transpose(1, 2)
    scaled = torch.nn.functional.interpolate(stacked, size=frames, mode="linear", align_corners=False)
    return scaled.permute(2, 0, 1)


def _pieces(frames: int, fps: float) -> list[tuple[int, int, int, int]]:
    """(start, stop, first, last) in frames: features start..stop are taken from the sound of first..last."""
    length, margin = round(PIECE_S * fps), round(MARGIN_S * fps)
    if frames <= length + 2 * margin:
        return [(0, frames, 0, frames)]
    starts = range(0, frames, length)
    return [(s, min(s + length, frames), max(0, s - margin), min(s + length + margin, frames)) for s in starts]
