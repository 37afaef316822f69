"""What every module of the backbone is told about the call it is part of, besides its hidden states."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..data import ReferenceCache
from ..errors import EmoInputError


@dataclass(frozen=True)
class CallContext:
    """One forward of the backbone over b clips of f frames; hidden states are (b * f, c, h, w), clip after clip.

    `audio` (b * f, k, d) and `speed` (b, f, d) are None where there is no such condition; without `temporal` the
    temporal modules are left out (stage 1). The audio tokens of the first `rows_silent` rows are zeros.
    """

    frames: int
    reference: ReferenceCache
    audio: Tensor | None
    speed: Tensor | None
    temporal: bool
    rows_silent: int = 0

    def emphasise(self, heard: Tensor) -> Tensor:
        """What audio attention adds, (r, s, c), weighted pixel by pixel where a user asked for it."""
        if not self.reference.audio_gain:
            return heard
        for gain in self.reference.audio_gain:
            if gain.shape[1] == heard.shape[1]:
                return heard * gain.to(heard.dtype)
        found = f"weights for maps of {[gain.shape[1] for gain in self.reference.audio_gain]} pixels"
        raise EmoInputError("emphasis", found, f"{heard.shape[1]}", "Encode the portrait again.")

    @property
    def rows_without_reference(self) -> int:
        """How many of the b * f rows, the first ones, see no portrait."""
        return self.reference.clips_without * self.frames
