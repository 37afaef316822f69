"""Training the VAE on TINY: the loss weighs mouth and eyes, batches are reproducible, and a few steps help."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emo_core.config import TINY
from emo_core.models.vae import VAE
from emo_core.training.vae import Crops, VAEBatches, VAELoss, VAEStep, psnr, weight_map

SIZE = 32


class Clip:
    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        blocks = rng.integers(0, 255, (3, SIZE // 8, SIZE // 8, 3), np.uint8)
        self.frames = blocks.repeat(8, axis=1).repeat(8, axis=2)
        self.mouth_box = np.tile(np.array([8, 20, 24, 28], np.float32), (3, 1))
        self.eye_box = np.tile(np.array([6, 8, 26, 14], np.float32), (3, 1))


class Heads:
    """What VAEBatches reads of a ClipDataset."""

    def __init__(self) -> None:
        self.clips = [{"split": "train"}] * 4 + [{"split": "test"}]

    def __getitem__(self, index: int) -> Clip:
        return Clip(index)


def batches(seed: int = 0) -> VAEBatches:
    return VAEBatches(Heads(), 4, loss=VAELoss(), seed=seed)  # type: ignore[arg-type]


def test_weight_map_is_heavier_inside_the_boxes_only() -> None:
    weight = weight_map(np.array([[2, 3, 6, 5]]), 8, np.array([4.0]))
    assert weight.shape == (1, 8, 8)
    assert float(weight[0, 3, 2]) == 5.0 == float(weight[0, 4, 5])
    assert float(weight.sum()) == 64 + 4 * 8


def test_a_box_outside_the_picture_weighs_nothing() -> None:
    assert float(weight_map(np.array([[-9, -9, -1, -1]]), 8, np.array([4.0])).sum()) == 64


def test_the_same_step_draws_the_same_pictures_and_never_a_test_clip() -> None:
    a, b = batches()(3, 0), batches()(3, 0)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert batches().clips == [0, 1, 2, 3]
    assert float(a["pictures"].abs().max()) <= 1.0


def test_crops_hold_what_they_are_drawn_around_and_cost_what_pictures_cost() -> None:
    crops = Crops(share=1.0, size=SIZE // 2, eyes=1.0)
    drawn = VAEBatches(Heads(), 4, loss=VAELoss(), crops=crops)(0, 0)  # type: ignore[arg-type]
    assert drawn["pictures"].shape == (16, 3, SIZE // 2, SIZE // 2)
    assert drawn["weight"].shape == (16, 1, SIZE // 2, SIZE // 2)
    heaviest = drawn["weight"].flatten(1).amax(1)
    assert bool((heaviest == VAELoss().eyes).all())


def test_only_the_asked_share_of_steps_is_cropped() -> None:
    source = VAEBatches(Heads(), 4, loss=VAELoss(), crops=Crops(share=0.5, size=SIZE // 2))  # type: ignore[arg-type]
    sizes = [source(step, 0)["pictures"].shape[-1] for step in range(40)]
    assert 10 <= sizes.count(SIZE // 2) <= 30


def test_an_error_in_the_mouth_costs_more() -> None:
    torch.manual_seed(0)
    step = VAEStep(VAE(TINY.vae))
    batch = batches()(0, 0)
    with torch.no_grad():
        plain, _ = step(batch | {"weight": torch.ones_like(batch["weight"]), "noise_share": torch.zeros(4, 1, 1, 1)})
        weighted, _ = step(batch | {"noise_share": torch.zeros(4, 1, 1, 1)})
    assert float(weighted) > float(plain)


def test_training_lowers_the_loss_of_a_held_batch() -> None:
    torch.manual_seed(0)
    step, batch = VAEStep(VAE(TINY.vae)), batches()(0, 0)
    optimizer = torch.optim.AdamW(step.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss, _ = step(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_psnr_of_a_known_error() -> None:
    assert psnr(torch.full((10,), 0.02)) == pytest.approx(40.0)  # a hundredth of the range of 2
