"""Colours are matched by what stands still, by a little at most, and each frame by itself."""

import pytest
import torch

from emo_core.face.colour import MAX_GAIN, MAX_SHIFT, match_colours

RING = torch.ones(64, 64, dtype=torch.bool)
RING[12:52, 12:52] = False


def picture() -> torch.Tensor:
    return torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.2


def test_equal_pictures_are_left() -> None:
    match = match_colours(picture(), picture(), RING)
    assert torch.allclose(match.gain, torch.ones(3), atol=1e-5) and match.offset.abs().max() < 1e-5


def test_a_gain_and_an_offset_are_found() -> None:
    drifted = picture() * torch.tensor([0.9, 1.0, 1.1]) + torch.tensor([0.02, -0.04, 0.0])
    assert (match_colours(drifted, picture(), RING)(drifted) - picture()).abs().max() < 0.02


def test_what_moves_through_the_ring_changes_nothing() -> None:
    """A hand over a third of the ring: the rest keeps its colours, so that nothing flickers as it passes."""
    frame = picture()
    frame[:, :22] = torch.tensor([0.9, 0.1, 0.1])
    matched = match_colours(frame, picture(), RING)(frame)
    assert (matched - picture())[:, 22:].abs().max() < 0.02


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_another_content_is_not_forced(value: float) -> None:
    frame = torch.full((64, 64, 3), value)
    match = match_colours(frame, picture(), RING)
    assert match.gain.max() <= MAX_GAIN + 1e-6 and match.gain.min() >= 1 / MAX_GAIN - 1e-6
    assert (match(frame) - frame).abs().max() <= MAX_SHIFT + 1e-6


def test_without_a_ring_nothing_is_matched() -> None:
    match = match_colours(picture() * 0.5, picture(), torch.zeros(64, 64, dtype=torch.bool))
    assert torch.equal(match(picture()), picture())
