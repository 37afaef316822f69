"""What the backbone's modules are told about the call they are part of, besides their hidden states.

A module's `at_site` gets the call; its forward, which may be compiled, gets what the site reads of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..data import ReferenceCache
from ..errors import EmoInputError


@dataclass(frozen=True)
class SiteContext:
    """What the block at one site reads: tensors, numbers, no name and no dictionary, so that blocks of one shape are
    one compiled graph.

    `keys` and `values` (b, k, c) of the portrait, each row for a run of frames, or for one frame after the other
    (`in_turn`); None where a site has none. `identity` (r, k, d), `audio` (b * f, k, d), `gain` (r, s, 1): see
    `ReferenceCache`. The first rows see no portrait (`rows_without`), hear nothing (`rows_silent`).
    """

    keys: Tensor | None
    values: Tensor | None
    in_turn: bool
    identity: Tensor | None
    audio: Tensor | None
    gain: Tensor | None
    rows_without: int
    rows_silent: int

    def emphasise(self, heard: Tensor) -> Tensor:
        """What audio attention adds, (r, s, c), weighted pixel by pixel where a user asked for it."""
        return heard if self.gain is None else heard * self.gain.to(heard.dtype)


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

    def at(self, site: str | None, pixels: int) -> SiteContext:
        """For the block at `site`, or for one that sees no portrait (None), on maps of `pixels`."""
        reference = self.reference
        return SiteContext(
            keys=None if site is None else reference.keys.get(site),
            values=None if site is None else reference.values.get(site),
            in_turn=reference.in_turn,
            identity=reference.identity,
            audio=self.audio,
            gain=self._gain(pixels),
            rows_without=self.rows_without_reference,
            rows_silent=self.rows_silent,
        )

    def _gain(self, pixels: int) -> Tensor | None:
        gains = self.reference.audio_gain
        if not gains:
            return None
        for gain in gains:
            if gain.shape[1] == pixels:
                return gain
        found = f"weights for maps of {[gain.shape[1] for gain in gains]} pixels"
        raise EmoInputError("emphasis", found, f"{pixels}", "Encode the portrait again.")

    @property
    def rows_without_reference(self) -> int:
        """How many of the b * f rows, the first ones, see no portrait."""
        return self.reference.clips_without * self.frames
