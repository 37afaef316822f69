"""models/flow: a flow of zero reads what is there, at every size; a flow carries along; areas are averaged."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from emo_core.models.flow import read_along, resized, shrunk


@pytest.mark.parametrize("size", [16, 17, 100, 512, 720])
def test_no_flow_reads_every_pixel_as_it_is(size: int) -> None:
    picture = torch.randint(0, 256, (1, 3, size, size)).float()
    assert torch.equal(read_along(picture, torch.zeros(1, 2, size, size)).round(), picture)


def test_a_flow_is_in_halves_of_the_side_and_says_the_same_at_every_size() -> None:
    flow = torch.zeros(1, 2, 4, 4)
    flow[:, 0] = 2 / 8  # an eighth of the width to the right
    for size in (16, 64):
        picture = torch.rand(1, 3, size, size)
        carried = read_along(picture, resized(flow, size, size))
        assert torch.allclose(carried[..., : -size // 8], picture[..., size // 8 :], atol=1e-5)


def test_beyond_the_border_lies_the_border() -> None:
    picture = torch.rand(1, 3, 8, 6)
    far = torch.full((2, 2, 8, 6), 9.0)
    carried = read_along(picture, far)
    assert carried.shape == (2, 3, 8, 6)  # one picture serves all rows
    assert torch.allclose(carried, picture[..., -1:, -1:].expand(2, -1, 8, 6), atol=1e-5)


def test_it_reads_as_torch_does_with_the_border_as_padding() -> None:
    torch.manual_seed(0)
    maps, flow = torch.randn(2, 3, 9, 12), torch.randn(2, 2, 5, 7)
    place = functional.affine_grid(torch.eye(2, 3)[None], [1, 1, 5, 7], align_corners=False)
    grid = place + flow.permute(0, 2, 3, 1)
    expected = functional.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    assert torch.allclose(read_along(maps, flow), expected, atol=1e-5)


def test_half_precision_loses_no_place() -> None:
    picture = torch.randint(0, 256, (1, 1, 1, 1024)).half()
    assert torch.equal(read_along(picture, torch.zeros(1, 2, 1, 1024)), picture)


@pytest.mark.parametrize("size", [32, 64, 48, 40])
def test_pictures_of_any_size_shrink_to_one_of_the_same_brightness(size: int) -> None:
    smooth = torch.linspace(-1, 1, size).expand(1, 3, size, size)
    small = shrunk(smooth, 32, 32)
    assert small.shape == (1, 3, 32, 32)
    assert torch.allclose(small[0, 0, 0], torch.linspace(-1, 1, 32), atol=0.06)
    if size % 32 == 0:
        assert torch.allclose(small, functional.interpolate(smooth, size=32, mode="area"), atol=1e-6)
