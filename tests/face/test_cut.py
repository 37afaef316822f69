"""Squares are cut where they are said to lie, turned or not, and points and boxes go the same way."""

import pytest
import torch
from torch import Tensor

from emo_core.data import Box
from emo_core.face.cut import box_to_crop, cut, points_to_crop, soften_beyond
from emo_core.face.view import Pyramid, View, crop_view, look

SQUARE: Box = (20.0, 10.0, 52.0, 42.0)


def plane(height: int = 64, width: int = 80) -> Tensor:
    """Red grows to the right, green downwards: a colour is a place."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x / 100, y / 100, torch.zeros_like(x)], dim=-1)


@pytest.mark.parametrize("angle_deg", [0.0, 15.0, -30.0, 45.0, 180.0])
@pytest.mark.parametrize("size", [16, 32, 96])
def test_every_pixel_is_the_one_at_its_place(angle_deg: float, size: int) -> None:
    crop = cut(plane(), SQUARE, size, angle_deg)
    steps = (torch.arange(size) + 0.5) / size
    shares = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
    expected = crop_view(SQUARE, angle_deg).to_picture(shares) / 100
    inner = slice(size // 8, -size // 8)
    assert (crop[inner, inner, :2] - expected[inner, inner]).abs().max() < 0.006


@pytest.mark.parametrize("angle_deg", [0.0, 30.0])
def test_points_and_boxes_go_the_same_way(angle_deg: float) -> None:
    points = torch.tensor([[36.0, 26.0, 4.0], [30.0, 20.0, 0.0]])
    placed = points_to_crop(points, SQUARE, 64, angle_deg)
    assert placed[0].tolist() == pytest.approx([32, 32, 8])
    colour = cut(plane(), SQUARE, 64, angle_deg)[int(placed[1, 1]), int(placed[1, 0])]
    assert (colour[:2] * 100).tolist() == pytest.approx([30, 20], abs=0.6)
    left, top, right, bottom = box_to_crop((30.0, 20.0, 42.0, 32.0), SQUARE, 64, angle_deg)
    assert (left + right) / 2 == pytest.approx(32) and (top + bottom) / 2 == pytest.approx(32)
    assert right - left == pytest.approx(24 if not angle_deg else 24 * 1.366, abs=0.01)


def test_a_fine_pattern_does_not_alias() -> None:
    stripes = (torch.arange(400) % 2).float()[None, :, None].expand(400, 400, 3)
    for angle_deg in (0.0, 30.0):
        assert cut(stripes, (50.0, 50.0, 350.0, 350.0), 32, angle_deg).std() < 0.05


def test_beyond_the_border_streaks_go_over_into_plain_colours() -> None:
    picture = torch.rand(40, 40, 3, generator=torch.Generator().manual_seed(0))
    box: Box = (-40.0, 0.0, 40.0, 80.0)
    crop = cut(picture, box, 80)
    soft = soften_beyond(crop, picture, box)
    assert torch.equal(soft[:40, 40:], picture), "the picture itself stays"
    assert torch.allclose(crop[:40, 39], picture[:, 0], atol=1e-5) and (soft[:40, 39] - crop[:40, 39]).abs().max() < 0.1
    assert crop[:40, 5].std() > 0.2 > 4 * soft[:40, 5].std()
    assert soft.min() >= 0 and soft.max() <= 1
    assert torch.equal(soften_beyond(picture, picture, (0.0, 0.0, 40.0, 40.0)), picture)


def test_a_view_goes_there_and_back() -> None:
    view = View(30.0, 40.0, 50.0, 0.7)
    points = torch.rand(9, 2)
    assert torch.allclose(view.from_picture(view.to_picture(points)), points, atol=1e-5)


def test_a_pyramid_shows_what_the_picture_shows() -> None:
    picture = torch.nn.functional.interpolate(plane().permute(2, 0, 1)[None], size=(2048, 2560), mode="bilinear")
    image = picture[0].permute(1, 2, 0)
    pyramid = Pyramid(image)
    for view in (View(1280, 1024, 2560), View(700, 900, 1500, 0.4), View(300, 300, 100)):
        assert (look(pyramid, view, 96) - look(image, view, 96)).abs().max() < 0.03
    assert pyramid.level(View(300, 300, 100), 96)[0] is image
    assert max(pyramid.level(View(1280, 1024, 2560), 96)[0].shape) == 1280
