"""Head rotation speed over time: in, Controls.speed (degrees per frame); out, one value per frame of a clip (3.2).

A user gives one number, a curve, keyframes, or the voice itself; `fit_speed` makes one value per frame of any of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..data import MAX_SPEED, Speed, SpeedKeys, VoiceSpeed, Waveform
from ..errors import EmoInputError
from .voice import voice_level

_KEYFRAMES = "keyframes such as 0:0.3, 2.5:1.0 (seconds:degrees per frame)"
_FORMS = (
    "one number, a curve (numbers with commas between them, such as 0.2, 0.5, 1.2), "
    f"{_KEYFRAMES}, or voice (or voice:0.1-1.2, quiet-loud)"
)


def clip_speed(speed: float | Sequence[float] | None, start: int, frames: int, *, total: int) -> Tensor | None:
    """Degrees per frame (f,) of the video's frames start .. start + frames; None where no speed is asked for.

    A curve has one value for each of the `total` frames of the video; past its end its last value holds.
    """
    if speed is None:
        return None
    if isinstance(speed, int | float):
        return torch.full((frames,), float(speed))
    check_speed(speed, total)
    values = [float(speed[min(i, total - 1)]) for i in range(start, start + frames)]
    return torch.tensor(values)


def check_speed(speed: float | Sequence[float] | None, total: int) -> None:
    """Raises EmoInputError if `speed` is a curve whose length is not the video's number of frames."""
    if speed is None or isinstance(speed, int | float) or len(speed) == total:
        return
    raise EmoInputError(
        "speed",
        f"a curve of {len(speed)} values",
        f"{total} values, one for each frame of the video, or a single number",
    )


def speed_per_frame(
    speed: Speed | None, total: int, fps: float, voice: Waveform | None = None
) -> float | Sequence[float] | None:
    """Keyframes and the voice's speed as one value for each of `total` frames; what is a number or a curve stays."""
    if isinstance(speed, SpeedKeys):
        return keyframe_curve(speed, total, fps)
    if isinstance(speed, VoiceSpeed):
        if voice is None:
            remedy = "Give a number, or sound with its waveform."
            raise EmoInputError("speed", "the voice's, and no sound", "the sound itself", remedy)
        level = voice_level(voice, total, fps)
        return (speed.quiet + (speed.loud - speed.quiet) * level).tolist()
    return speed


def keyframe_curve(keys: SpeedKeys, total: int, fps: float) -> list[float]:
    """Degrees per frame at the time of each of `total` frames: straight lines between keyframes, the ends held."""
    import numpy as np

    times, values = np.asarray(keys.points, np.float64).T
    scale = fps if keys.per_second else 1.0
    curve = np.interp(np.arange(total) / fps, times, values / scale)
    return [min(float(value), MAX_SPEED) for value in curve]


def stretch_speed(speed: Speed | None, total: int) -> Speed | None:
    """A curve of any length spread evenly over `total` frames; everything else as it is."""
    if speed is None or isinstance(speed, int | float | SpeedKeys | VoiceSpeed):
        return speed
    return resample_curve(speed, total)


def resample_curve(curve: Sequence[float], total: int) -> list[float]:
    """A curve of any length stretched to `total` values by straight lines between its points."""
    if not curve:
        raise EmoInputError("speed", "an empty curve", "at least one value")
    if len(curve) == 1:
        return [float(curve[0])] * total
    points = torch.linspace(0, len(curve) - 1, total)
    left = points.floor().long().clamp(max=len(curve) - 2)
    values = torch.tensor([float(v) for v in curve])
    return torch.lerp(values[left], values[left + 1], points - left).tolist()


def parse_speed(text: str) -> Speed:
    """What a user types: a number, numbers with commas between them, keyframes `0:0.3, 2.5:1.0`, `voice` or
    `voice:0.1-1.2` (quiet and loud). Raises EmoInputError for anything else."""
    word, _, rest = text.strip().partition(":")
    if word.strip().lower() == "voice":
        return _parse_voice(rest)
    if ":" in text:
        return parse_keyframes(text)
    curve = parse_curve(text)
    if not curve:
        raise EmoInputError("speed", repr(text[:80]), _FORMS)
    return curve[0] if len(curve) == 1 else curve


def parse_keyframes(text: str) -> SpeedKeys:
    """`seconds:degrees per frame` with commas between them."""
    points = []
    for piece in _pieces(text):
        time, colon, value = piece.partition(":")
        try:
            points.append((float(time), float(value if colon else "")))
        except ValueError as error:
            raise EmoInputError("speed", repr(piece[:80]), _KEYFRAMES, "Give every keyframe its second.") from error
    return SpeedKeys(tuple(points))


def parse_curve(text: str) -> tuple[float, ...]:
    """Numbers with commas (or line ends) between them, as a user types them. Raises EmoInputError for anything else."""
    try:
        return tuple(float(piece) for piece in _pieces(text))
    except ValueError as error:
        raise EmoInputError("speed", repr(text[:80]), _FORMS, "Write a point, not a comma, in 0.5.") from error


def _parse_voice(rest: str) -> VoiceSpeed:
    if not rest.strip():
        return VoiceSpeed()
    quiet, dash, loud = rest.partition("-")
    try:
        return VoiceSpeed(float(quiet), float(loud if dash else ""))
    except ValueError as error:
        if isinstance(error, EmoInputError):
            raise
        raise EmoInputError("speed", repr(f"voice:{rest[:40]}"), "voice, or voice:0.1-1.2 (quiet-loud)") from error


def _pieces(text: str) -> list[str]:
    pieces = (piece.strip() for piece in text.replace("\n", ",").replace(";", ",").split(","))
    return [piece for piece in pieces if piece]
