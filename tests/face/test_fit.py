"""A portrait in a smaller picture: the same square of the same picture, and nothing of it for the network changed."""

from __future__ import annotations

import dataclasses
import logging

import pytest
import torch
from portrait_cases import tilted
from torch import Tensor

from emo_core.face.crop import prepare_portrait
from emo_core.face.cut import cut, resized
from emo_core.face.fit import fitted
from emo_core.face.paste import Paster


def half(picture: Tensor) -> Tensor:
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    return resized(picture.permute(2, 0, 1), height, width).permute(1, 2, 0)


@pytest.mark.parametrize("angle", [0.0, 33.0])
def test_the_face_is_pasted_where_it_was(astronaut: Tensor, angle: float) -> None:
    picture = tilted(astronaut, 30) if angle else astronaut
    box = (331.0, 164.0, 491.0, 306.0) if angle else (179.0, 71.0, 272.0, 175.0)
    portrait = prepare_portrait(picture, 128, box, angle_deg=angle)
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    small = fitted(portrait, (width, height))
    assert small.source.shape == (height, width, 3)
    assert small.crop is portrait.crop and small.face_box == portrait.face_box
    shift = [abs(a / 2 - b) for a, b in zip(portrait.crop_box, small.crop_box, strict=True)]
    assert max(shift) <= 1 and (angle or all(float(v).is_integer() for v in small.crop_box))
    frame = resized(torch.rand(3, 12, 12), 128, 128).permute(1, 2, 0)
    away = (half(Paster(portrait, feather=0.3)(frame)) - Paster(small, feather=0.3)(frame)).abs().mean()
    away /= (half(picture) - Paster(small, feather=0.3)(frame)).abs().mean()
    assert away < 0.15


def test_what_fits_is_the_same_portrait(astronaut: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    portrait = prepare_portrait(astronaut, 64, (179.0, 71.0, 272.0, 175.0))
    with caplog.at_level(logging.WARNING):
        assert fitted(portrait, (512, 512)) is portrait
        assert not caplog.text
        smaller = fitted(dataclasses.replace(portrait, faces=((0.0, 10.0, 20.0, 30.0),)), (256, 128))
    assert "512x512 pixels is written at 256x128" in caplog.text
    assert smaller.faces == ((0.0, 2.5, 10.0, 7.5),)


def test_the_smaller_square_shows_what_the_network_sees(astronaut: Tensor) -> None:
    portrait = prepare_portrait(astronaut, 64, (179.0, 71.0, 272.0, 175.0))
    small = fitted(portrait, (300, 300))
    assert (cut(small.source, small.crop_box, 64) - portrait.crop).abs().mean() < 0.03
