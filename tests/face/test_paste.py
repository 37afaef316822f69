"""Pasting back changes the crop's inside, nothing outside, and shows no square."""

import pytest
import torch
from torch import Tensor

from emo_core.data import Portrait
from emo_core.errors import EmoInputError
from emo_core.face.crop import prepare_portrait
from emo_core.face.paste import paste_back

FACE_BOX = (179.0, 71.0, 272.0, 175.0)


def test_the_crop_itself_gives_the_picture_back(astronaut: Tensor) -> None:
    portrait = prepare_portrait(astronaut, 256, FACE_BOX)
    assert (paste_back(portrait.crop, portrait) - astronaut).abs().mean() < 0.002


def test_nothing_outside_the_crop_changes_and_the_source_stays(astronaut: Tensor) -> None:
    portrait = prepare_portrait(astronaut, 128, FACE_BOX)
    before = astronaut.clone()
    pasted = paste_back(torch.zeros(128, 128, 3), portrait)
    left, top, right, bottom = (int(v) for v in portrait.crop_box)
    assert (pasted[(top + bottom) // 2, (left + right) // 2] == 0).all()
    outside = torch.ones(astronaut.shape[:2], dtype=torch.bool)
    outside[top:bottom, left:right] = False
    assert torch.equal(pasted[outside], before[outside])
    assert torch.equal(portrait.source, before)


def test_the_border_is_a_ramp() -> None:
    source = torch.zeros(100, 100, 3)
    portrait = Portrait(torch.zeros(40, 40, 3), (0, 0, 40, 40), (20.0, 20.0, 80.0, 80.0), source)
    row = paste_back(torch.ones(40, 40, 3), portrait, feather=0.2)[50, :, 0]
    assert row[19] == 0 and row[50] == 1
    assert row.diff().abs().max() < 0.2
    hard = paste_back(torch.ones(40, 40, 3), portrait, feather=0)[50, :, 0]
    assert hard[19] == 0 and hard[20] == 1


def test_a_crop_that_reaches_outside_is_clipped() -> None:
    portrait = Portrait(torch.zeros(32, 32, 3), (0, 0, 32, 32), (-16.0, -16.0, 16.0, 16.0), torch.zeros(30, 50, 3))
    pasted = paste_back(torch.ones(32, 32, 3), portrait, feather=0)
    assert pasted.shape == (30, 50, 3) and pasted.sum() == 16 * 16 * 3


def test_wrong_frames_are_named(astronaut: Tensor) -> None:
    portrait = prepare_portrait(astronaut, 64, FACE_BOX)
    with pytest.raises(EmoInputError, match="channels last"):
        paste_back(torch.zeros(2, 64, 64, 3), portrait)
    with pytest.raises(EmoInputError, match="feather"):
        paste_back(portrait.crop, portrait, feather=0.9)
