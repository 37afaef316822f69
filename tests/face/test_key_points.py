"""The picture of eyes and nose: dots where the points are, sticks between, black elsewhere, at any size."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from emo_core.data import Portrait
from emo_core.face.key_points import MESH, key_point_picture, key_points

CROP = torch.zeros(256, 256, 3)
PORTRAIT = Portrait(CROP, (64.0, 64.0, 192.0, 192.0), (0.0, 0.0, 256.0, 256.0), CROP)


@pytest.mark.parametrize("size", [128, 512])
def test_dots_and_sticks(size: int) -> None:
    points = torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.5, 0.5]])
    picture = key_point_picture(points, size)
    assert picture.shape == (3, size, size)
    for index, (x, y) in enumerate(points.tolist()):
        expected = torch.zeros(3)
        expected[index] = 1.0
        assert torch.equal(picture[:, round(y * size), round(x * size)], expected)
    between = round(0.375 * size)
    assert torch.allclose(picture[:, between, between], torch.tensor([0.6, 0.0, 0.0]))
    assert float((picture.sum(0) > 0).float().mean()) < 0.02


def test_points_come_from_the_mesh_or_the_box() -> None:
    landmarks = torch.zeros(468, 3)
    for ids, place in zip(MESH, ((80.0, 90.0), (170.0, 90.0), (128.0, 130.0)), strict=True):
        landmarks[list(ids), :2] = torch.tensor(place)
    meshed = key_points(dataclasses.replace(PORTRAIT, landmarks=landmarks)) * 256
    assert torch.allclose(meshed, torch.tensor([[80.0, 90.0], [170.0, 90.0], [128.0, 130.0]]))
    boxed = key_points(PORTRAIT) * 256
    assert bool(((boxed > 64) & (boxed < 192)).all()) and boxed[0, 0] < boxed[2, 0] < boxed[1, 0]
