"""models/flow: a flow of zero reads what is there, at every size; a flow carries along; areas are averaged."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from emo_core.models.flow import read_along, read_finely, read_in_nine, resized, shrunk

READERS = pytest.mark.parametrize("read", [read_along, read_finely, read_in_nine], ids=["along", "finely", "in nine"])


@READERS
@pytest.mark.parametrize("size", [16, 17, 100, 512, 720])
def test_no_flow_reads_every_pixel_as_it_is(size: int, read: Callable[[Tensor, Tensor], Tensor]) -> None:
    picture = torch.randint(0, 256, (1, 3, size, size)).float()
    assert torch.equal(read(picture, torch.zeros(1, 2, size, size)).round(), picture)


def test_a_flow_is_in_halves_of_the_side_and_says_the_same_at_every_size() -> None:
    flow = torch.zeros(1, 2, 4, 4)
    flow[:, 0] = 2 / 8  # an eighth of the width to the right
    for size in (16, 64):
        picture = torch.rand(1, 3, size, size)
        carried = read_along(picture, resized(flow, size, size))
        assert torch.allclose(carried[..., : -size // 8], picture[..., size // 8 :], atol=1e-5)


@READERS
def test_beyond_the_border_lies_the_border(read: Callable[[Tensor, Tensor], Tensor]) -> None:
    picture = torch.rand(1, 3, 8, 6)
    far = torch.full((2, 2, 8, 6), 9.0)
    carried = read(picture, far)
    assert carried.shape == (2, 3, 8, 6)  # one picture serves all rows
    assert torch.allclose(carried, picture[..., -1:, -1:].expand(2, -1, 8, 6), atol=1e-5)


def test_it_reads_as_torch_does_with_the_border_as_padding() -> None:
    torch.manual_seed(0)
    maps, flow = torch.randn(2, 3, 9, 12), torch.randn(2, 2, 5, 7)
    place = functional.affine_grid(torch.eye(2, 3)[None], [1, 1, 5, 7], align_corners=False)
    grid = place + flow.permute(0, 2, 3, 1)
    expected = functional.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    assert torch.allclose(read_along(maps, flow), expected, atol=1e-5)


@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("read", [read_along, read_finely, read_in_nine])
def test_training_survives_places_that_are_no_numbers(
    read: Callable[[Tensor, Tensor], Tensor], wrong: float, size: int
) -> None:
    """Seen: a segmentation fault in torch's backward, where a run had diverged."""
    maps = torch.rand(2, 5, size, size, requires_grad=True)
    flow = torch.zeros(2, 2, size, size)
    flow[0, 0, 1:3, 2:5] = wrong
    flow[1] = wrong
    flow.requires_grad_(True)
    seen = read(maps, flow)
    seen.sum().backward()
    if math.isnan(wrong):
        assert seen[0, :, 1:3, 2:5].isnan().all() and seen[1].isnan().all()  # and the loop hears of it
        seen[0, :, 1:3, 2:5] = 0
    assert seen[0].isfinite().all()


@pytest.mark.parametrize("read", [read_along, read_finely])
def test_what_is_trained_is_read_as_what_is_not(read: Callable[[Tensor, Tensor], Tensor]) -> None:
    maps, flow = torch.rand(2, 3, 20, 20), 0.3 * torch.randn(2, 2, 20, 20)
    assert torch.equal(read(maps, flow), read(maps, flow.clone().requires_grad_(True)))


def test_every_device_reads_finely_alike() -> None:
    """Also at the border, where torch repeats its pixels."""
    torch.manual_seed(0)
    picture, flow = torch.randn(1, 3, 9, 12), torch.randn(2, 2, 7, 5) * 0.6
    assert torch.allclose(read_in_nine(picture, flow), read_finely(picture, flow), atol=1e-5)


def test_read_finely_half_a_pixel_away_keeps_detail_that_is_blurred_linearly() -> None:
    """Waves of four pixels; of each the middle, so that the border is left out."""
    wave = torch.sin(torch.arange(64) * math.pi / 2 + 0.4).expand(1, 1, 64, 64)
    flow = torch.zeros(1, 2, 64, 64)
    flow[:, 0] = 1 / 64  # half a pixel
    exact = torch.sin((torch.arange(64) + 0.5) * math.pi / 2 + 0.4)[8:-8]
    linear, fine = (
        float(read(wave, flow)[0, 0, 8, 8:-8] @ exact / (exact @ exact)) for read in (read_along, read_finely)
    )
    assert linear < 0.72 and 0.93 < fine < 1.07


@READERS
def test_half_precision_loses_no_place(read: Callable[[Tensor, Tensor], Tensor]) -> None:
    picture = torch.randint(0, 256, (1, 1, 1, 1024)).half()
    assert torch.equal(read(picture, torch.zeros(1, 2, 1, 1024)), picture)


@pytest.mark.parametrize("size", [32, 64, 48, 40])
def test_pictures_of_any_size_shrink_to_one_of_the_same_brightness(size: int) -> None:
    smooth = torch.linspace(-1, 1, size).expand(1, 3, size, size)
    small = shrunk(smooth, 32, 32)
    assert small.shape == (1, 3, 32, 32)
    assert torch.allclose(small[0, 0, 0], torch.linspace(-1, 1, 32), atol=0.06)
    if size % 32 == 0:
        assert torch.allclose(small, functional.interpolate(smooth, size=32, mode="area"), atol=1e-6)
