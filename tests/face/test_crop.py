"""A portrait is framed as in training, at any size, and says where it was cut from."""

import logging
import math
import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from emo_core.cli import DEMO_PORTRAIT
from emo_core.data import Portrait
from emo_core.errors import EmoInputError
from emo_core.face.crop import DEFAULT_MARGIN, FACE_CENTRE_Y, FACE_SHARE, at_size, prepare_portrait
from emo_core.face.cut import cut
from emo_core.face.image import read_image
from emo_core.face.paste import paste_back
from emo_core.face.view import crop_view

FACE_BOX = (179.0, 71.0, 272.0, 175.0)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_face_takes_its_share_of_the_crop_and_stands_in_its_place(astronaut: Tensor, size: int) -> None:
    portrait = prepare_portrait(astronaut, size)
    assert portrait.crop.shape == (size, size, 3)
    assert portrait.crop.min() >= 0 and portrait.crop.max() <= 1
    left, top, right, bottom = portrait.face_box
    assert (bottom - top) / size == pytest.approx(FACE_SHARE, abs=0.01)
    assert (left + right) / 2 == pytest.approx(size / 2, abs=0.02 * size)
    assert (top + bottom) / 2 == pytest.approx(size * FACE_CENTRE_Y, abs=0.02 * size)


def test_the_crop_is_the_picture_at_crop_box(astronaut: Tensor) -> None:
    portrait = prepare_portrait(astronaut, 176, FACE_BOX, margin=176 / 104 - 1)
    left, top, right, bottom = (int(v) for v in portrait.crop_box)
    assert (right - left, bottom - top) == (176, 176)
    assert torch.allclose(portrait.crop, astronaut[top:bottom, left:right], atol=1e-6)
    assert torch.equal(portrait.source, astronaut)


def test_landmarks_lie_in_the_face_box_of_the_crop(astronaut: Tensor) -> None:
    for portrait in (prepare_portrait(astronaut, 128), prepare_portrait(astronaut, 128, FACE_BOX)):
        assert portrait.landmarks is not None and portrait.landmarks.shape == (468, 3)
        left, top, right, bottom = portrait.face_box
        x, y = portrait.landmarks[:, 0], portrait.landmarks[:, 1]
        assert x.min() > left - 2 and x.max() < right + 2 and y.min() > top - 2 and y.max() < bottom + 2


def test_a_larger_margin_shows_more(astronaut: Tensor) -> None:
    narrow, wide = (prepare_portrait(astronaut, 64, FACE_BOX, margin=m) for m in (DEFAULT_MARGIN, 1.5))
    assert wide.crop_box[0] < narrow.crop_box[0] and wide.crop_box[3] > narrow.crop_box[3]


def test_outside_the_picture_the_edge_is_repeated() -> None:
    image = torch.rand(20, 20, 3)
    crop = cut(image, (-10.0, -10.0, 10.0, 10.0), 20)
    assert torch.allclose(crop[:10, :10], image[0, 0].expand(10, 10, 3), atol=0.3)
    assert torch.allclose(crop[10:, 3], image[:10, 0], atol=1e-5)
    beyond = cut(image, (30.0, 0.0, 50.0, 20.0), 20)
    assert torch.allclose(beyond, image[:, -1:].expand(20, 20, 3), atol=1e-5)


def test_no_face_says_what_to_do() -> None:
    with pytest.raises(EmoInputError, match=r"no face.*face_box"):
        prepare_portrait(torch.full((200, 200, 3), 0.5), 128)


def test_a_face_box_is_taken_even_where_no_face_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        portrait = prepare_portrait(torch.full((200, 200, 3), 0.5), 128, (50, 50, 150, 150))
    assert portrait.landmarks is None and "landmarks" in caplog.text
    assert portrait.face_box[3] - portrait.face_box[1] == pytest.approx(FACE_SHARE * 128, abs=1)


def test_several_faces_take_the_largest_with_a_warning(astronaut: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    head = astronaut[:256, 96:352]
    canvas = torch.full((280, 560, 3), 0.5)
    canvas[10:266, 290:546] = head
    canvas[50:220, 50:220] = head[torch.arange(170) * 3 // 2][:, torch.arange(170) * 3 // 2]
    with caplog.at_level(logging.WARNING):
        largest = prepare_portrait(canvas, 64)
    assert "2 faces" in caplog.text and largest.crop_box[0] > 200
    assert prepare_portrait(canvas, 64, face_index=1).crop_box[2] < 290
    with pytest.raises(EmoInputError, match="face_index"):
        prepare_portrait(canvas, 64, face_index=2)


def test_a_face_too_small_names_both_numbers(astronaut: Tensor) -> None:
    with pytest.raises(EmoInputError, match=r"face of 10 pixels.*at least 40"):
        prepare_portrait(astronaut, 512, (200, 100, 210, 110))


def test_a_face_upside_down_is_refused(astronaut: Tensor) -> None:
    with pytest.raises(EmoInputError, match="upright") as told:
        prepare_portrait(astronaut.flip(0, 1), 128)
    said = re.search(
        r"turned by -?1[78]\d degrees, the one at X,Y,W,H = (\d+),(\d+),(\d+),(\d+); .*--face-angle 0", str(told.value)
    )
    assert said is not None and "another one" not in str(told.value)
    left, top, width, height = map(int, said.groups())
    assert (left + width / 2, top + height / 2) == pytest.approx((512 - 225.5, 512 - 123), abs=8)


@pytest.mark.parametrize("box", [(100, 100, 50, 150), (600, 600, 700, 700), (10, 10, 10, 50)])
def test_impossible_boxes_are_named(astronaut: Tensor, box: tuple[int, ...]) -> None:
    with pytest.raises(EmoInputError, match="left < right"):
        prepare_portrait(astronaut, 128, box)


@pytest.mark.parametrize(
    "box",
    [(math.nan,) * 4, (0, 0, math.inf, 1), (-math.inf, 0, 9, 9), (-1e308, 0, 1e308, 9), (1, 2, 3), tuple("abcd"), 7],
)
def test_boxes_of_what_is_no_number_are_named(box: tuple) -> None:
    with pytest.raises(EmoInputError, match=r"face_box: found the box .*four finite numbers"):
        prepare_portrait(torch.full((64, 64, 3), 0.5), 64, box)


@pytest.mark.parametrize("box", [(-1e9, -1e9, 2e9, 2e9), (-1e18, 0, 1e18, 60), (0, 0, 1e300, 1e300)])
@pytest.mark.parametrize("angle", [0.0, 30.0])
def test_a_box_far_beyond_the_picture_is_taken_back_to_it(box: tuple[float, ...], angle: float) -> None:
    portrait = prepare_portrait(torch.rand(64, 80, 3), 64, box, angle_deg=angle, margin=10.0)
    assert portrait.crop_box[2] - portrait.crop_box[0] <= 2 * 80 * 11 and bool(torch.isfinite(portrait.crop).all())


def test_a_box_somewhat_beyond_the_picture_stays_as_it_was_given() -> None:
    inside = prepare_portrait(torch.rand(100, 100, 3), 64, (20, -20, 80, 60))
    assert inside.crop_box[3] - inside.crop_box[1] == round(80 / FACE_SHARE)


def test_a_square_mostly_beyond_its_picture_takes_no_memory_and_looks_the_same(monkeypatch) -> None:
    picture = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(0)).repeat_interleave(8, 0)
    picture = picture.repeat_interleave(8, 1)
    there = cut(picture, (-200.0, -200.0, 264.0, 264.0), 64)
    monkeypatch.setattr("emo_core.face.cut.LARGE", 1)
    assert float((cut(picture, (-200.0, -200.0, 264.0, 264.0), 64) - there).abs().mean()) < 0.05
    assert cut(picture, (-1e6, -1e6, 1e6, 1e6), 64).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"angle_deg": math.nan}, "face_angle"),
        ({"angle_deg": math.inf}, "face_angle"),
        ({"angle_deg": -math.inf}, "face_angle"),
        ({"margin": math.nan}, "margin"),
        ({"margin": math.inf}, "margin"),
        ({"face_order": "x"}, "face_order"),
    ],
)
def test_what_is_no_number_or_no_order_is_named_with_a_box_too(wrong: dict, name: str) -> None:
    with pytest.raises(EmoInputError, match=f"^{name}: found .*; expected"):
        prepare_portrait(torch.full((64, 64, 3), 0.5), 64, (10, 10, 50, 50), **wrong)


@pytest.mark.parametrize("size", [0, -8, 100])
def test_sizes_that_do_not_fit_the_network_are_named(astronaut: Tensor, size: int) -> None:
    with pytest.raises(EmoInputError, match="multiple of 8"):
        prepare_portrait(astronaut, size)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((200.0, 150.0, 300.0, 270.0), (150.0, 110.0, 350.0, 310.0)),  # 200 wide, 240 high: the middle 200
        ((10.0, 150.0, 110.0, 250.0), (5.0, 125.0, 155.0, 275.0)),  # cut at the left border: 160 of 200 are left
    ],
)
def test_the_dilated_square_is_echomimics(box, expected, monkeypatch):
    picture = torch.rand(400, 500, 3, generator=torch.Generator().manual_seed(0))
    portrait = prepare_portrait(picture, 64, box, framing="dilated")
    left, top, right, bottom = portrait.crop_box
    assert right - left == bottom - top and left >= 0 and top >= 0 and right <= 500 and bottom <= 400
    if box[0] == 200.0:
        assert portrait.crop_box == expected
    else:
        assert (left, right) == (0.0, 160.0) and (top + bottom) / 2 == 200.0


@pytest.mark.parametrize("angle", [0.0, 12.0])
def test_the_same_square_at_another_size(astronaut: Tensor, angle: float) -> None:
    small, large = (prepare_portrait(astronaut, size, angle_deg=angle) for size in (64, 256))
    again = at_size(small, 256)
    assert again.crop_box == large.crop_box and torch.equal(again.crop, large.crop)
    assert again.face_box == pytest.approx(large.face_box, abs=1e-3)
    assert again.landmarks is not None and large.landmarks is not None
    torch.testing.assert_close(again.landmarks, large.landmarks, atol=1e-3, rtol=0)
    assert at_size(small, 64, reach=8) is small


@pytest.mark.parametrize("angle", [0.0, 12.0])
def test_a_square_of_the_pictures_own_pixels(astronaut: Tensor, angle: float) -> None:
    """Made wider by a few pixels; an upright one is the picture itself, pasted back too. Face and mesh stay put."""
    before = prepare_portrait(astronaut, 64, angle_deg=angle)
    side = round(before.crop_box[2] - before.crop_box[0])
    size = -(-(side + 1) // 8) * 8
    own = at_size(before, size, reach=8)
    left, top, right, bottom = own.crop_box
    assert right - left == bottom - top == size == own.crop.shape[0] and size > side
    assert at_size(before, size + 16, reach=8).crop_box == before.crop_box  # too far from it: as it was
    if angle == 0:
        whole = [round(value) for value in own.crop_box]
        assert torch.equal(own.crop, astronaut[whole[1] : whole[3], whole[0] : whole[2]])
        pasted = paste_back(own.crop, own)
        assert torch.equal((pasted * 255).round(), (astronaut * 255).round())
    assert own.landmarks is not None and before.landmarks is not None
    for one, other in ((own.landmarks[:, :2], before.landmarks[:, :2]), (boxes(own), boxes(before))):
        places = [
            crop_view(p.crop_box, angle).to_picture(points.double() / p.crop.shape[0])
            for p, points in ((own, one), (before, other))
        ]
        torch.testing.assert_close(places[0], places[1], atol=1e-2, rtol=0)


def boxes(portrait: Portrait) -> Tensor:
    """The corners of the face's box."""
    left, top, right, bottom = portrait.face_box
    return torch.tensor([[left, top], [right, bottom]])


@pytest.mark.parametrize("side", [20, 24, 28])
def test_a_face_of_a_few_pixels_is_called_small_and_not_tilted(side: int) -> None:
    """The mesh reads any tilt in it: 87 to 155 degrees here."""
    photo = read_image(DEMO_PORTRAIT).movedim(-1, 0)[None]
    small = functional.interpolate(photo, size=(side, side), mode="area")[0].movedim(0, -1)
    with pytest.raises(EmoInputError, match="pixels in height; expected at least"):
        prepare_portrait(small, 1024)
