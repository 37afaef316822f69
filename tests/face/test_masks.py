"""Masks from outside: any size, one or many, over the crop or the whole picture; and the pictures drawn for people."""

from __future__ import annotations

import pytest
import torch

from emo_core.data import Portrait
from emo_core.errors import EmoInputError
from emo_core.face.drawing import CROP_COLOUR, FACE_COLOUR, REGION_COLOUR, draw_portrait, draw_region
from emo_core.face.region import mask_box, region_from_masks

PORTRAIT = Portrait(
    crop=torch.zeros(64, 64, 3),
    face_box=(16.0, 16.0, 48.0, 48.0),
    crop_box=(100.0, 20.0, 132.0, 52.0),
    source=torch.zeros(90, 160, 3),
    landmarks=torch.full((468, 3), 32.0),
)


def test_masks_become_their_union_at_the_crops_size() -> None:
    masks = torch.zeros(2, 16, 16)
    masks[0, :, :4], masks[1, :, 12:] = 1, 1
    region = region_from_masks(masks, PORTRAIT)
    assert region.shape == (64, 64)
    assert region[:, :14].min() > 0.9 and region[:, 50:].min() > 0.9 and region[:, 20:44].max() < 0.1
    assert region_from_masks(masks).shape == (16, 16) and region_from_masks(masks[0]).shape == (16, 16)


def test_a_mask_over_the_whole_picture_is_cut_like_the_portrait() -> None:
    mask = torch.zeros(1, 90, 160)
    mask[:, 20:36, 100:132] = 1  # the upper half of the crop
    region = region_from_masks(mask, PORTRAIT)
    assert region.shape == (64, 64) and region[:30].min() > 0.9 and region[34:].max() < 0.1
    outside = torch.zeros(90, 160)
    outside[:, :50] = 1
    with pytest.raises(EmoInputError, match="an empty mask"):
        region_from_masks(outside, PORTRAIT)


def square_portrait(side: int = 64, picture: int = 64) -> Portrait:
    """The crop as large as the picture, though it shows a part of it."""
    crop_box = (picture / 8, picture / 8, picture * 5 / 8, picture * 5 / 8)
    return Portrait(torch.zeros(side, side, 3), (0.0, 0.0, 8.0, 8.0), crop_box, torch.zeros(picture, picture, 3))


@pytest.mark.parametrize(("side", "picture"), [(64, 64), (64, 128), (128, 64), (64, 100)])
@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_a_mask_over_the_picture_lands_in_its_place_whatever_the_sizes(side: int, picture: int, size: int) -> None:
    portrait = square_portrait(side, picture)
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    mask = ((x > 0.25) & (x < 0.5) & (y > 0.25) & (y < 0.4)).float()
    region = region_from_masks(mask, portrait, over="picture", name="face-mask")
    steps = (torch.arange(side) + 0.5) / side * 0.5 + 0.125
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    wanted = (u > 0.25) & (u < 0.5) & (v > 0.25) & (v < 0.4)
    wrong = ((region > 0.5) != wanted).float().mean()
    assert wrong < 0.04, "of a border as coarse as the coarsest of the three"


def test_the_size_says_what_a_mask_lies_over() -> None:
    portrait = square_portrait(64, 128)
    mask = torch.zeros(128, 128)
    mask[:32] = 1
    assert torch.equal(region_from_masks(mask, portrait), region_from_masks(mask, portrait, over="picture"))
    small = mask[::2, ::2]
    assert torch.equal(region_from_masks(small, portrait), region_from_masks(small, portrait, over="crop"))
    wide = torch.zeros(45, 80)  # half as large as PORTRAIT's picture, and no square
    wide[:18, 45:70] = 1
    region = region_from_masks(wide, PORTRAIT)
    assert region[:28].min() > 0.9 and region[36:].max() < 0.1


def test_what_may_lie_over_both_has_to_be_told() -> None:
    mask = torch.zeros(64, 64)
    mask[:20] = 1
    for portrait, size in ((square_portrait(), 64), (square_portrait(64, 128), 32)):
        with pytest.raises(EmoInputError, match=f"{size}x{size} pixels, which may lie over the picture"):
            region_from_masks(mask[:size, :size], portrait)
    assert region_from_masks(torch.ones(64, 64), square_portrait()).min() == 1, "the same wherever it lies"
    whole = square_portrait()
    whole = Portrait(whole.crop, whole.face_box, (0.0, 0.0, 64.0, 64.0), whole.source)
    assert torch.equal(region_from_masks(mask, whole), mask), "the square is the picture"


def test_what_cannot_be_meant_is_refused_with_both_sizes() -> None:
    mask = torch.zeros(50, 200)
    mask[:20] = 1
    with pytest.raises(EmoInputError, match="200x50 pixels; expected the shape of the picture, 160x90, or of"):
        region_from_masks(mask, PORTRAIT)
    for over, sizes in (("picture", "200x50 pixels for a picture of 160x90"), ("crop", "200x50 pixels; expected a")):
        with pytest.raises(EmoInputError, match=f"face-mask: found a mask of {sizes}"):
            region_from_masks(mask, PORTRAIT, over=over, name="face-mask")
    with pytest.raises(EmoInputError, match=r"200x50 pixels; expected a square one .* Connect portrait"):
        region_from_masks(mask)
    with pytest.raises(EmoInputError, match="face_mask: found a mask of 200x50 pixels for a picture of 160x90"):
        mask_box(mask, PORTRAIT.source)
    for portrait in (PORTRAIT, None):
        assert region_from_masks(torch.ones(50, 200), portrait).min() > 0.999, "all white is no limit wherever it lies"


@pytest.mark.parametrize("shape", [(0, 4), (4,), (1, 1, 4, 4)])
def test_what_is_no_mask_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EmoInputError, match="mask: found a tensor of shape"):
        region_from_masks(torch.ones(shape))


def test_a_box_is_read_off_a_mask_of_any_size() -> None:
    mask = torch.zeros(1, 45, 80)
    mask[:, 10:20, 40:60] = 1
    left, top, right, bottom = mask_box(mask, PORTRAIT.source)
    assert (left, right) == pytest.approx((80, 120), abs=2) and (top, bottom) == pytest.approx((20, 40), abs=2)
    with pytest.raises(EmoInputError, match="face_mask: found an empty mask"):
        mask_box(torch.zeros(64, 64), PORTRAIT.source)


def test_the_square_and_the_face_are_drawn_where_they_are() -> None:
    picture = draw_portrait(PORTRAIT)
    assert torch.equal(PORTRAIT.source, torch.zeros(90, 160, 3)), "the source itself stays"
    for row, column, colour in ((20, 110, CROP_COLOUR), (40, 100, CROP_COLOUR), (28, 116, FACE_COLOUR)):
        assert picture[row, column].tolist() == pytest.approx(colour, abs=1 / 255)
    assert picture[25, 116].tolist() == pytest.approx(REGION_COLOUR, abs=1 / 255)
    painted = picture.sum(-1).nonzero()
    assert painted.amin(0).tolist() == [20, 100] and painted.amax(0).tolist() == [51, 131]


def test_a_square_beyond_the_picture_is_drawn_as_far_as_it_goes() -> None:
    import dataclasses

    beyond = dataclasses.replace(PORTRAIT, crop_box=(-40.0, -30.0, 400.0, 410.0), landmarks=None)
    assert float((draw_portrait(beyond).sum(-1) > 0).float().mean()) < 0.1


def test_what_lies_outside_a_region_is_dark() -> None:
    mask = torch.zeros(4, 4)
    mask[:2] = 1
    shown = draw_region(torch.ones(4, 4, 3), mask)
    assert shown[:2].min() == 1.0 and 0 < shown[2:].max() < 0.5


def test_a_small_face_is_shown_once_more_enlarged_away_from_it() -> None:
    import dataclasses

    crop = torch.full((64, 64, 3), 0.5)
    far = dataclasses.replace(PORTRAIT, crop=crop, source=torch.zeros(600, 900, 3), landmarks=None)
    picture = draw_portrait(far)
    assert picture[120, 780].tolist() == pytest.approx([0.5] * 3, abs=0.01), "the crop, in the other corner"
    assert picture[:, :300].sum() < picture[:, 600:].sum()


def test_the_preview_is_bounded_and_shows_other_faces_and_notes() -> None:
    import dataclasses

    wide = dataclasses.replace(PORTRAIT, source=torch.zeros(900, 3000, 3), crop_box=(100.0, 20.0, 700.0, 620.0))
    plain = draw_portrait(wide)
    assert plain.shape == (461, 1536, 3)
    others = ((100.0, 20.0, 400.0, 320.0), (2000.0, 100.0, 2600.0, 700.0))
    told = draw_portrait(dataclasses.replace(wide, faces=others, notes=("2 faces found",)))
    assert (told != plain)[:, 1000:].any(), "the other face's box"
    assert (told != plain)[-60:, :300].any(), "the words"
