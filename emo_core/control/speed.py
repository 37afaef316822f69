"""Head rotation speed over time: in, Controls.speed (degrees per frame); out, one value per frame of a clip (3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import EmoInputError


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


def parse_curve(text: str) -> tuple[float, ...]:
    """Numbers with commas (or line ends) between them, as a user types them. Raises EmoInputError for anything else."""
    pieces = [piece.strip() for piece in text.replace("\n", ",").replace(";", ",").split(",")]
    try:
        return tuple(float(piece) for piece in pieces if piece)
    except ValueError as error:
        allowed = "numbers with commas between them, such as 0.2, 0.5, 1.2"
        raise EmoInputError("curve", repr(text[:80]), allowed, "Write a point, not a comma, in 0.5.") from error
