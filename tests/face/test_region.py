"""The face region covers what it should, grows as told, and takes any user's mask."""

import pytest
import torch

from emo_core.data import Portrait
from emo_core.errors import EmoInputError
from emo_core.face.region import box_mask, face_region_mask, grow_box, regions_over_time, soften, union_box


def portrait() -> Portrait:
    return Portrait(torch.zeros(64, 64, 3), (16.0, 16.0, 48.0, 48.0), (0.0, 0.0, 64.0, 64.0), torch.zeros(64, 64, 3))


def test_a_box_becomes_its_area() -> None:
    mask = box_mask((2.5, 3.0, 7.0, 6.25), 16)
    assert mask.sum() == pytest.approx(4.5 * 3.25)
    assert mask[4, 4] == 1 and mask[4, 2] == 0.5 and mask[6, 4] == 0.25 and mask[10, 10] == 0


def test_the_union_covers_every_frames_box_and_nothing_needless() -> None:
    boxes = [(10.0, 12.0, 20.0, 22.0), (8.0, 14.0, 18.0, 25.0)]
    union = union_box(boxes)
    assert union == (8.0, 12.0, 20.0, 25.0)
    mask = box_mask(union, 32)
    assert all((mask >= box_mask(box, 32)).all() for box in boxes)


def test_without_a_region_the_portraits_box_is_grown_per_axis() -> None:
    mask = face_region_mask(None, 64, portrait(), expand_x=0.25, expand_y=0.0)
    assert torch.equal(mask, box_mask((8.0, 16.0, 56.0, 48.0), 64))
    tall = face_region_mask(None, 64, portrait(), expand_x=0.0, expand_y=0.25)
    assert torch.equal(tall, mask.T)


def test_the_region_follows_the_size_asked_for() -> None:
    small = face_region_mask(None, 32, portrait(), expand_x=0.0, expand_y=0.0)
    assert torch.equal(small, box_mask((8.0, 8.0, 24.0, 24.0), 32))


@pytest.mark.parametrize("shape", [(64, 64), (1, 100, 80), (1, 1, 7, 9)])
def test_a_users_mask_of_any_size_keeps_its_halves(shape: tuple[int, ...]) -> None:
    mask = torch.zeros(shape)
    mask[..., : shape[-1] // 2] = 1
    region = face_region_mask(mask, 64)
    assert region.shape == (64, 64)
    assert (region[:, :20] > 0.95).all() and (region[:, 44:] < 0.05).all()


def test_a_full_mask_stays_full() -> None:
    assert torch.equal(face_region_mask(torch.ones(50, 30), 64), torch.ones(64, 64))


def test_feathering_softens_the_border_and_keeps_the_middle() -> None:
    soft = face_region_mask((16.0, 16.0, 48.0, 48.0), 64, feather=0.05)
    assert soft[32, 32] > 0.99 and 0.3 < soft[32, 16] < 0.7 and soft[0, 0] < 0.01
    assert torch.allclose(soften(torch.ones(16, 16), 3.0), torch.ones(16, 16), atol=1e-6)


def test_growing_is_a_share_of_each_side() -> None:
    assert grow_box((10, 10, 20, 30), 0.5, 0.1) == (5, 8, 25, 32)


@pytest.mark.parametrize(
    ("region", "word"),
    [
        (torch.zeros(64, 64), "empty mask"),
        ((100.0, 100.0, 120.0, 120.0), "empty mask"),
        ((20.0, 0.0, 10.0, 10.0), "left < right"),
        ((float("nan"),) * 4, "four finite numbers"),
        ((0.0, 0.0, float("inf"), 10.0), "four finite numbers"),
        ((0.0, 0.0, 10.0), "four finite numbers"),
        (torch.ones(2, 8, 8), "shape"),
        (torch.full((8, 8), float("nan")), "NaN"),
        (None, "nothing"),
    ],
)
def test_regions_that_make_no_sense_are_named(region: object, word: str) -> None:
    with pytest.raises(EmoInputError, match=word):
        face_region_mask(region, 64)


def test_masks_over_time_keep_their_order_and_fill_their_gaps() -> None:
    masks = torch.zeros(5, 16, 16)
    masks[0, :, :8], masks[3, :, 8:] = 1, 1
    regions = regions_over_time(masks)
    assert regions.shape == (5, 16, 16)
    assert torch.equal(regions[1], regions[0]) and torch.equal(regions[2], regions[3])
    assert torch.equal(regions[4], regions[3]) and not torch.equal(regions[0], regions[3])
    with pytest.raises(EmoInputError, match="5 empty masks"):
        regions_over_time(torch.zeros(5, 16, 16))
    with pytest.raises(EmoInputError, match="at least two"):
        regions_over_time(masks[0])


def test_a_box_that_reaches_far_beyond_is_all_there_is() -> None:
    assert torch.equal(box_mask((-1e300, -1e300, 1e300, 1e300), 16), torch.ones(16, 16))


def test_a_box_lies_in_the_crops_pixels_whatever_the_regions_size() -> None:
    box = (10.0, 20.0, 90.0, 100.0)
    halved = face_region_mask((5.0, 10.0, 45.0, 50.0), 64)
    assert torch.equal(face_region_mask(box, 64, side=128), halved)
    assert torch.equal(face_region_mask(box, 128, side=128), face_region_mask(box, 128))
