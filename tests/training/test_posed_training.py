"""Training of the posed portrait: rows of one clip each, and a loss that a known movement brings to
nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emo_core.config import PosedPortraitConfig
from emo_core.models.posed_portrait import UNIT_DEG, PosedPortrait
from emo_core.training.batches import at_rest
from emo_core.training.clips import PUPPETS
from emo_core.training.latents import LatentClip
from emo_core.training.posed_portrait import FRAMES, PosedBatches, PosedStep, left_over

CHANNELS, SIDE, LENGTH = 3, 8, 20


def turning(seed: int, style: str = "talking") -> LatentClip:
    """A clip whose latents are their first plus a map of its own times the yaw, and times the pitch squared."""
    rng = np.random.default_rng(seed)
    pose = np.cumsum(rng.normal(size=(LENGTH, 3)), axis=0).astype(np.float32)
    pose -= pose[0]
    rest = rng.normal(size=(CHANNELS, SIDE, SIDE))
    unit = pose / UNIT_DEG
    latents = rest + 0.5 * unit[:, 1, None, None, None] * rest + unit[:, 0, None, None, None] ** 2
    box = np.tile(np.array([2, 2, 6, 6], np.float32), (LENGTH, 1))
    return LatentClip(
        latents=latents.astype(np.float16),
        audio=np.zeros((LENGTH, 1, 1), np.float16),
        face_box=box,
        mouth_box=box,
        eye_box=box,
        speed=np.ones(LENGTH, np.float32),
        rotation_deg=pose,
        style=style,
        size=SIDE * 8,
    )


class Clips:
    clips = (turning(0), turning(1), turning(2, "still"), turning(3))


def batches(rows: int = 8) -> PosedBatches:
    return PosedBatches(Clips(), rows, seed=0)  # type: ignore[arg-type]


def test_rows_are_heads_that_move_and_start_at_rest() -> None:
    batch = batches(32)(0, 0)
    assert batch["target"].shape == (32, FRAMES, CHANNELS, SIDE, SIDE) and batch["pose"].shape == (32, FRAMES, 3)
    still = torch.from_numpy(Clips.clips[2].latents.astype(np.float32))
    assert not (batch["portrait"][:, None] == still[None]).flatten(2).all(2).any()
    resting = torch.cat([torch.from_numpy(c.latents[at_rest(c)].astype(np.float32)) for c in Clips.clips])
    assert bool((batch["portrait"][:, None] == resting[None]).flatten(2).all(2).any(1).all())
    again = batches(32)(0, 0)
    assert all(torch.equal(batch[name], again[name]) for name in batch)


def test_three_quarters_of_the_rows_are_heads_drawn_in_any_pose_where_there_are_any() -> None:
    class Mixed:
        clips = (turning(0), turning(4, "turning"))

    batch = PosedBatches(Mixed(), 400, seed=0)(0, 0)  # type: ignore[arg-type]
    drawn = torch.from_numpy(Mixed.clips[1].latents.astype(np.float32))
    share = (batch["portrait"][:, None] == drawn[None]).flatten(2).all(2).any(1).float().mean()
    assert 0.68 < float(share) < 0.82


def test_puppets_start_from_their_photographs_and_heads_keep_their_share() -> None:
    class Both:
        clips = (turning(0), replace(turning(1), kind=PUPPETS, portrait=np.full((CHANNELS, SIDE, SIDE), 7, np.float16)))

    batch = PosedBatches(Both(), 400, seed=0, heads_share=0.25)(0, 0)  # type: ignore[arg-type]
    photographs = (batch["portrait"] == 7).flatten(1).all(1)
    assert 0.48 < float(photographs.float().mean()) < 0.64  # .75 of the .75 that are no heads


def test_it_learns_what_turning_does() -> None:
    torch.manual_seed(0)
    step = PosedStep(PosedPortrait(PosedPortraitConfig(width=16, blocks=1, degree=2), CHANNELS))
    test = batches(16)(999, 0)
    before = left_over(step.posed, test)["test_left"]
    assert abs(before - 1) < 1e-6  # an untrained one is a copy
    optimizer = torch.optim.Adam(step.parameters(), lr=3e-3)
    for i in range(60):
        loss, parts = step(batches()(i, 0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert parts["left"] < 0.7 and left_over(step.posed, test)["test_left"] < 0.7


@pytest.mark.parametrize("where", ["portrait", "pose", "target"])
def test_numbers_that_are_none_reach_the_loop_alive(where: str) -> None:
    """Seen: a segmentation fault, status 139 and not a word, of a rate too high and of damaged latents."""
    step = PosedStep(PosedPortrait(PosedPortraitConfig(width=8), CHANNELS))
    with torch.no_grad():
        step.posed.flow.weight.normal_()
    batch = batches()(0, 0)
    batch[where][0] = float("nan")
    loss, _ = step(batch)
    loss.backward()
    assert loss.isnan() and step.posed.flow.weight.grad.isnan().any()
