"""What every module of the backbone is told about the call it is part of, besides its hidden states."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..data import ReferenceCache


@dataclass(frozen=True)
class CallContext:
    """One forward of the backbone over b clips of f frames; hidden states are (b * f, c, h, w), clip after clip.

    `audio` (b * f, k, d) and `speed` (b, f, d) are None where there is no such condition; without `temporal` the
    temporal modules are left out (stage 1).
    """

    frames: int
    reference: ReferenceCache
    audio: Tensor | None
    speed: Tensor | None
    temporal: bool

    @property
    def rows_without_reference(self) -> int:
        """How many of the b * f rows, the first ones, see no portrait."""
        return self.reference.clips_without * self.frames
