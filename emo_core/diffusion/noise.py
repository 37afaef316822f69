"""Starting noise of a clip: in, a seed and the clip's index; out, latents (f, c, h, w) that depend on nothing else.

The paper starts every clip from independent noise. With `ScheduleConfig.shared_noise` a share of the variance is one
picture common to all frames of the video, which lowers the flicker of a small network (shared/facts: mini).
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

from ..errors import EmoInputError


def clip_noise(seed: int, clip_index: int, shape: tuple[int, ...], shared_share: float = 0.0) -> Tensor:
    """Unit Gaussian noise (f, c, h, w) float32, drawn on the CPU so that every device starts from the same numbers.

    `shared_share` in 0..1 is the share of the variance that all frames of all clips of this seed have in common.
    """
    independent = torch.randn(shape, generator=named_generator(seed, f"clip {clip_index}"))
    if shared_share == 0.0:
        return independent
    shared = torch.randn(shape[1:], generator=named_generator(seed, "shared")).expand(shape)
    return mix_noise(shared, independent, shared_share)


def mix_noise(shared: Tensor, independent: Tensor, share: float) -> Tensor:
    """Noise of unit variance of which `share` (0..1) is `shared`; the two broadcast. Training mixes with this too."""
    if not 0.0 <= share <= 1.0:
        raise EmoInputError("shared_noise", f"{share}", "0 to 1")
    return math.sqrt(share) * shared + math.sqrt(1.0 - share) * independent


def named_generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator for one purpose of one seed: different names give unrelated streams."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little") >> 1)
