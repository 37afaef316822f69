"""How strongly sound moves the mouth and the upper face: in, regions of a portrait and two weights; out, one weight per
pixel of the network's maps, by which what audio attention adds is multiplied, and the voice's guidance where the voice
is guided alone (`diffusion.guidance`). Works in every family; not in the paper.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor

from ..data import Controls, ReferenceCache
from ..errors import EmoInputError


def with_emphasis(reference: ReferenceCache, controls: Controls) -> ReferenceCache:
    """The reference with the weights that the controls ask for; itself where they ask for none."""
    if controls.region_weights is not None:
        if not reference.audio_regions:
            remedy = "Use mouth and upper-face emphasis, which work with every model."
            found = "weights for pose, face and lips of a model that does not hear with them apart"
            raise EmoInputError("region_weights", found, "none", remedy)
        reference = dataclasses.replace(reference, region_weights=controls.region_weights)
    if controls.mouth_emphasis == 1.0 and controls.upper_emphasis == 1.0:
        return reference
    if not reference.emphasis_regions:
        raise EmoInputError("emphasis", "a reference without a face's regions", "one", "Encode the portrait again.")
    gains = tuple(
        audio_gain(regions, mouth=controls.mouth_emphasis, upper=controls.upper_emphasis)
        for regions in reference.emphasis_regions
    )
    return dataclasses.replace(reference, audio_gain=gains)


def audio_gain(regions: Tensor, *, mouth: float, upper: float) -> Tensor:
    """Lips and upper face (1, 2, k) in 0..1 -> (1, k, 1): 1 outside both, `mouth` on the lips, `upper` above."""
    lips, above = regions[:, 0], regions[:, 1]
    return (1 + (mouth - 1) * lips + (upper - 1) * above).unsqueeze(-1)
