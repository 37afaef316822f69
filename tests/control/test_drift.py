"""Guards against drift: what they change, what they leave alone, and that off is off."""

from __future__ import annotations

import torch

from emo_core.control.drift import anchor_colours, drop_patches

PORTRAIT = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
MOTION = torch.randn(1, 2, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def region() -> torch.Tensor:
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:48, 16:48] = 1
    return mask


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def test_patches_are_dropped_outside_the_face_only_and_show_the_portrait() -> None:
    dropped = drop_patches(MOTION, PORTRAIT, region(), 0.5, drawn())
    changed = (dropped != MOTION).any(2)[0]
    assert torch.equal(changed[0], changed[1])  # the same places in every motion frame
    assert not changed[0, 2:6, 2:6].any()
    assert 0.3 < float(changed[0].float().sum() / 48) < 0.7
    assert torch.equal(dropped[0, 0][:, changed[0]], PORTRAIT[0][:, changed[0]])


def test_rates_from_nothing_to_everything() -> None:
    assert drop_patches(MOTION, PORTRAIT, region(), 0.0) is MOTION
    everything = drop_patches(MOTION, PORTRAIT, region(), 1.0, drawn())
    outside = torch.nn.functional.avg_pool2d(region(), 8)[0] < 0.5
    assert torch.equal(everything[0, 1][:, outside], PORTRAIT[0][:, outside])
    again = drop_patches(MOTION, PORTRAIT, region(), 0.5, drawn())
    assert torch.equal(again, drop_patches(MOTION, PORTRAIT, region(), 0.5, drawn()))
    everywhere = torch.ones(1, 64, 64)
    assert torch.equal(drop_patches(MOTION, PORTRAIT, everywhere, 1.0, drawn()), MOTION)


def test_a_drifted_clip_comes_back_to_the_portraits_colours() -> None:
    clip = PORTRAIT.expand(6, -1, -1, -1)
    drifted = clip * 1.1 + torch.tensor([0.3, -0.2, 0.0, 0.5]).view(1, 4, 1, 1)
    torch.testing.assert_close(anchor_colours(drifted, PORTRAIT[0], 1.0), clip, atol=1e-4, rtol=0)
    half = anchor_colours(drifted, PORTRAIT[0], 0.5)
    torch.testing.assert_close(half, (drifted + clip) / 2, atol=1e-4, rtol=0)
    assert anchor_colours(drifted, PORTRAIT[0], 0.0) is drifted
    torch.testing.assert_close(anchor_colours(clip, PORTRAIT[0], 1.0), clip, atol=1e-5, rtol=0)


def test_a_flat_clip_is_not_blown_up() -> None:
    flat = torch.randn(6, 4, 8, 8, generator=drawn()) * 1e-3
    anchored = anchor_colours(flat, PORTRAIT[0], 1.0)
    assert float((anchored - anchored.mean((0, 2, 3), keepdim=True)).abs().max()) < 1e-2
