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
from .room import fit_length, padded
from .waveform import ENCODER_RATE, fit_video, lead_frames, mono_16k, normalise, with_lead
from .whisper import FEATURE_RATE, WhisperEncoder, frame_windows

# Up to here a file goes through the encoder at once, which is exact. Longer ones go in pieces of this length that see
# a margin on both sides: attention is quadratic, and an hour at once would need minutes and gigabytes.
PIECE_S = 120.0
MARGIN_S = 8.0
# Silence behind the sound, inside: the last frames then hear what a pause sounds like, not the edge of the recording.
TAIL_S = 0.5

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


def tail_frames(fps: float) -> int:
    """Frames of silence behind the sound, computed and cut off."""
    return round(TAIL_S * fps)


@torch.no_grad()
def encode_frames(
    encoder: AudioEncoder | WhisperEncoder,
    waveform: Waveform,
    fps: float,
    on_piece: OnPiece | None = None,
    *,
    before: int = 0,
    after: int = 0,
) -> Tensor:
    """Encoder features (f, l, d), one per video frame, on the encoder's device; two for V-Express, Whisper's own 50 Hz.

    `before` and `after` are frames of silence around the sound, which do not count for its level. `on_piece` hears how
    many pieces of how many are done, before each of them; what it raises comes through.
    """
    frames = frame_count(waveform, fps)
    silence = (round(before / fps * ENCODER_RATE), round(after / fps * ENCODER_RATE))
    samples = fit_length(mono_16k(waveform), round(frames / fps * ENCODER_RATE))
    if isinstance(encoder, WhisperEncoder):
        return encoder.encode(padded(samples, *silence), on_piece)
    weight = next(encoder.parameters())
    samples = padded(normalise(samples, in_place=True), *silence).to(weight.device, weight.dtype)
    frames, fps = (frames + before + after) * encoder.config.per_frame, fps * encoder.config.per_frame
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
    lead_in_s: float = 0.0,
    lead_out_s: float = 0.0,
) -> AudioFeatures:
    """What the network hears of a recording, or of `voice` in its place: windows (f, 2m + 1, l, d), m =
    `projection.window`.

    `.waveform` is the sound cut or padded to the video's f / fps seconds, with whole frames of silence around it if
    asked for; `.tail` half a second more. EmoInputError for sound that cannot be used.
    """
    check_waveform(waveform, fps)
    heard = waveform if voice is None else fit_video(voice, frame_count(waveform, fps), fps)
    lead = lead_in, lead_out = lead_frames(lead_in_s, fps), lead_frames(lead_out_s, fps, name="lead_out")
    features = encode_frames(encoder, heard, fps, before=lead_in, after=lead_out + tail_frames(fps))
    return window_features(features, with_lead(waveform, fps, *lead), fps=fps, projection=projection, lead=lead)


def window_features(
    features: Tensor,
    waveform: Waveform,
    *,
    fps: float,
    projection: AudioProjectionConfig,
    lead: tuple[int, int] = (0, 0),
) -> AudioFeatures:
    """`audio_features` from features (f, l, d) that are there already, and the sound of the video. Features beyond the
    sound become the tail; `lead`: how many of the frames are silence before and after the voice."""
    frames = frame_count(waveform, fps)
    if projection.features == "last_layer":
        features = features[:, -1:]
    if projection.kind == "none":
        windows = frame_windows(features, max(frames, int(len(features) / FEATURE_RATE * fps)), fps)
    elif projection.kind == "resampler":
        windows = encode_pairs(features, projection.window)
    else:
        windows = encode_windows(features, projection.window)
    windows, tail = windows[:frames], windows[frames:]
    return AudioFeatures(
        windows=windows,
        fps=fps,
        waveform=fit_video(waveform, len(windows), fps),
        tail=tail if len(tail) else None,
        lead_in=lead[0],
        lead_out=lead[1],
    )


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
