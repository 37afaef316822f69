"""How a video is cut into clips: in, its number of frames; out, which frames each clip brings (paper 3.1, 3.2).

Every clip has the same length inside, so that the network and the noise never see another; what the last one has too
many of is trimmed outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import EmoInputError


@dataclass(frozen=True)
class ClipPlan:
    """Clip `index` of `clips` brings the video's frames start .. start + kept and computes `frames` of them."""

    index: int
    clips: int
    start: int
    frames: int
    kept: int

    @property
    def is_last(self) -> bool:
        return self.index == self.clips - 1


def clip_count(total: int, frames: int) -> int:
    """Clips of `frames` frames that hold `total`."""
    return -(-total // frames)


def plan_clip(index: int, total: int, frames: int) -> ClipPlan:
    """The plan of one clip of a video of `total` frames; nothing is planned ahead, so length costs no memory."""
    clips = clip_count(total, frames)
    if not 0 <= index < clips:
        raise EmoInputError("clip", f"number {index}", f"0 to {clips - 1}")
    start = index * frames
    return ClipPlan(index, clips, start, frames, min(frames, total - start))


def take(values: Tensor, plan: ClipPlan, tail: Tensor | None = None) -> Tensor:
    """The clip's part of per-frame `values` (total, ...): (frames, ...). Past the end come the values of `tail` (p,
    ...), then the last value again and again."""
    part = values[plan.start : plan.start + plan.kept]
    if tail is not None and plan.kept < plan.frames:
        part = torch.cat([part, tail[: plan.frames - plan.kept].to(part)])
    missing = plan.frames - len(part)
    return part if missing == 0 else torch.cat([part, part[-1:].expand(missing, *part.shape[1:])])
