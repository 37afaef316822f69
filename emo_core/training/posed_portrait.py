"""Training of models/posed_portrait: a portrait's latent and a pose in, the latent of the frame with that pose out.

Portraits are photographs or frames at rest, targets frames of the same clip; what mouths and eyes do besides cannot be
told from the pose and averages out, so it weighs little.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..models.posed_portrait import PosedPortrait
from .batches import Likeness, Pools
from .clips import HEADS
from .latents import LatentClip, LatentDataset, latent_weight
from .loop import Batch, Parts

FRAMES = 8  # targets of each portrait


class PosedBatches:
    """Rows of a portrait and frames of its clip, drawn from (seed, step, rank); people who move alone. Where there are
    heads drawn in any pose, most of the heads' rows are theirs (`turning_share`): a path seldom comes to where all
    angles are wide."""

    def __init__(
        self, clips: LatentDataset, batch: int, *, seed: int, heads_share: float = 0.25, turning_share: float = 0.75
    ) -> None:
        self.turning = [clip for clip in clips.clips if clip.style == "turning"]
        moving = [clip for clip in clips.clips if clip.style in ("talking", "singing")]
        self.swinging = [clip for clip in moving if clip.kind == HEADS] or self.turning
        self.people = Pools([*moving, *self.turning], heads_share)
        self.batch, self.seed, self.turning_share = batch, seed, turning_share

    def __call__(self, step: int, rank: int) -> Batch:
        rng = np.random.default_rng((self.seed, step, rank, 7))
        rows = [self._row(self._clip(rng), rng) for _ in range(self.batch)]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _clip(self, rng: np.random.Generator) -> LatentClip:
        clip = self.people.draw(rng)
        if clip.kind != HEADS:
            return clip
        pool = self.turning if self.turning and rng.random() < self.turning_share else self.swinging
        return pool[int(rng.integers(len(pool)))]

    def _row(self, clip: LatentClip, rng: np.random.Generator) -> Batch:
        portrait = Likeness.draw(clip, rng)
        frames = rng.choice(len(clip.latents), FRAMES, replace=False)
        weight = latent_weight(clip, frames, mouth=-0.9, eyes=-0.5)
        return {
            "portrait": torch.from_numpy(portrait.latents.astype(np.float32)),
            "target": torch.from_numpy(clip.latents[frames].astype(np.float32)),
            "pose": torch.from_numpy(clip.rotation_deg[frames] - portrait.rotation_deg),
            "weight": weight.clamp(min=0.05),
        }


class PosedStep(nn.Module):
    """The weighted squared error of the posed portrait; logs which share of the change it leaves unexplained."""

    def __init__(self, posed: PosedPortrait) -> None:
        super().__init__()
        self.posed = posed

    def forward(self, batch: Batch) -> tuple[Tensor, Parts]:
        made = self.posed(batch["portrait"], batch["pose"])
        loss = _weighted(made.float() - batch["target"], batch["weight"])
        return loss, {"left": (loss.detach() / _weighted(_change(batch), batch["weight"])) ** 0.5}


@torch.no_grad()
def left_over(posed: PosedPortrait, batch: Batch) -> Parts:
    """RMS that the posed portrait leaves of the change from the portrait, as a share: 1 is no better than a copy."""
    batch = {name: value.to(next(posed.parameters()).device) for name, value in batch.items()}
    made = posed(batch["portrait"], batch["pose"]).float()
    error, change = (_weighted(x, batch["weight"]) for x in (made - batch["target"], _change(batch)))
    return {"test_left": float(error / change) ** 0.5}


def _change(batch: Batch) -> Tensor:
    return batch["target"] - batch["portrait"].unsqueeze(1)


def _weighted(error: Tensor, weight: Tensor) -> Tensor:
    return (error.square() * weight).mean() / weight.mean()
