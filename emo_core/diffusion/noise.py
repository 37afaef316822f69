"""Starting noise of a clip: in, a seed and the clip's index; out, latents (f, c, h, w) that depend on nothing else.

The paper starts every frame from independent noise. `ScheduleConfig` can make it up of three parts, whose shares of
the variance add up to one: one picture common to all frames of the video (shared), one that turns into another within
some frames (slow), and one of each frame's own. Little of the last is little flicker in a small network; the slow part
is what lets a head choose where to turn.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..config import ScheduleConfig
from ..errors import EmoInputError


def clip_noise(seed: int, clip_index: int, shape: tuple[int, ...], config: ScheduleConfig) -> Tensor:
    """Unit Gaussian noise (f, c, h, w) float32, drawn on the CPU so that every device starts from the same numbers."""
    own = torch.randn(shape, generator=named_generator(seed, f"clip {clip_index}"))
    shared = slow = None
    if config.shared_noise > 0:
        shared = torch.randn(shape[1:], generator=named_generator(seed, "shared"))
    if config.slow_noise > 0:
        slow = slow_noise(
            lambda anchor: torch.randn(shape[1:], generator=named_generator(seed, f"slow {anchor}")),
            first_frame=clip_index * shape[0],
            frames=shape[0],
            interval=config.slow_noise_frames,
        )
    noise = mix_noise(own, shared, slow, config)
    return noise if config.noise_limit is None else noise.clamp(-config.noise_limit, config.noise_limit)


def slow_noise(draw: Callable[[int], Tensor], *, first_frame: float, frames: int, interval: int) -> Tensor:
    """Frames (f, ...) of a noise that turns from anchor to anchor, `interval` frames apart, at constant variance.

    `draw` gives unit Gaussian anchors by number; frame i lies at anchor i / interval. The angle between neighbouring
    frames is 90 degrees / interval.
    """
    places = [(first_frame + frame) / interval for frame in range(frames)]
    anchors = {number: draw(number) for number in range(math.floor(places[0]), math.floor(places[-1]) + 2)}
    turned = []
    for place in places:
        number = math.floor(place)
        angle = (place - number) * math.pi / 2
        turned.append(math.cos(angle) * anchors[number] + math.sin(angle) * anchors[number + 1])
    return torch.stack(turned)


def mix_noise(own: Tensor, shared: Tensor | None, slow: Tensor | None, config: ScheduleConfig) -> Tensor:
    """Noise of unit variance of the three parts, which broadcast; a part may be None where its share is 0."""
    left = 1.0 - config.shared_noise - config.slow_noise
    if min(config.shared_noise, config.slow_noise) < 0 or left < -1e-6:
        found = f"{config.shared_noise:g} and {config.slow_noise:g}"
        raise EmoInputError("shared_noise and slow_noise", found, "shares of at least 0 that add up to at most 1")
    noise = math.sqrt(max(0.0, left)) * own
    for part, share in ((shared, config.shared_noise), (slow, config.slow_noise)):
        if part is not None:
            noise = noise + math.sqrt(share) * part
    return noise


def named_generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator for one purpose of one seed: different names give unrelated streams."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little") >> 1)
