"""Pasting back changes the crop's inside, nothing outside, and shows no square."""

import dataclasses
import logging

import pytest
import torch
from portrait_cases import tilted
from torch import Tensor

from emo_core.data import Portrait
from emo_core.errors import EmoInputError
from emo_core.face.crop import prepare_portrait
from emo_core.face.image import in_colour
from emo_core.face.paste import Paster, paste_back, paste_frames

FACE_BOX = (179.0, 71.0, 272.0, 175.0)


@pytest.fixture(scope="module")
def upright(astronaut: Tensor) -> Portrait:
    return prepare_portrait(astronaut, 128, FACE_BOX)


@pytest.fixture(scope="module")
def turned(astronaut: Tensor) -> Portrait:
    return prepare_portrait(tilted(astronaut, 30), 128, (331.0, 164.0, 491.0, 306.0), angle_deg=33.0)


def inside_square(portrait: Portrait) -> Tensor:
    """(H', W') bool: pixels whose middle lies in the square, by another reckoning than the code's."""
    height, width = portrait.source.shape[:2]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    left, top, right, bottom = portrait.crop_box
    turn = torch.deg2rad(torch.tensor(portrait.angle_deg))
    axes = (torch.stack([turn.cos(), turn.sin()]), torch.stack([-turn.sin(), turn.cos()]))
    away = torch.stack([x - (left + right) / 2, y - (top + bottom) / 2], dim=-1)
    return torch.stack([(away @ axis).abs() for axis in axes]).amax(0) <= (right - left) / 2


def test_the_crop_itself_gives_the_picture_back(astronaut: Tensor) -> None:
    portrait = prepare_portrait(astronaut, 256, FACE_BOX)
    assert (paste_back(portrait.crop, portrait) - astronaut).abs().mean() < 0.002


def test_a_turned_crop_gives_the_picture_back(astronaut: Tensor) -> None:
    picture = tilted(astronaut, 30)
    portrait = prepare_portrait(picture, 256, (331.0, 164.0, 491.0, 306.0), angle_deg=33.0)
    assert portrait.angle_deg == 33.0
    paster = Paster(portrait)
    pasted = paster(portrait.crop)
    off = (pasted - picture).abs().mean(-1)[paster.weight == 1]
    assert off.mean() < 0.02, "as sharp as twice resampled hair can be, and in its place"
    shifted = (pasted.roll(2, 0) - picture).abs().mean(-1)[paster.weight == 1]
    assert off.mean() < 0.4 * shifted.mean()


@pytest.mark.parametrize("feather", [0.0, 0.08, 0.5])
@pytest.mark.parametrize("which", ["upright", "turned"])
def test_outside_the_feather_every_bit_is_the_sources(which: str, feather: float, request) -> None:
    portrait: Portrait = request.getfixturevalue(which)
    before = portrait.source.clone()
    paster = Paster(portrait, feather=feather)
    pasted = paster(torch.rand(128, 128, 3))
    assert torch.equal(portrait.source, before), "the source itself stays"
    square = inside_square(portrait)
    assert torch.equal(pasted[~square], before[~square])
    assert torch.equal(pasted[paster.weight == 0], before[paster.weight == 0])
    assert not bool((paster.weight[~square] > 0).any())
    changed = (pasted != before).any(-1)
    assert changed[square].float().mean() > 0.9 and (paster.weight[square] > 0).float().mean() > 0.98


def test_the_frame_is_what_stands_in_the_middle(upright: Portrait) -> None:
    pasted = paste_back(torch.zeros(128, 128, 3), upright, match_colour=False)
    left, top, right, bottom = (int(v) for v in upright.crop_box)
    assert (pasted[(top + bottom) // 2, (left + right) // 2] == 0).all()


@pytest.mark.parametrize("which", ["upright", "turned"])
@pytest.mark.parametrize("feather", [0.0, 0.1])
def test_nothing_outside_a_region_moves(which: str, feather: float, request) -> None:
    portrait: Portrait = request.getfixturevalue(which)
    region = torch.zeros(128, 128)
    region[40:110, 36:90] = 1
    paster = Paster(portrait, feather=feather, region=region)
    stray = torch.rand(128, 128, 3)  # a model that paints hands everywhere
    pasted = paster(stray)
    allowed = Paster(portrait, feather=0.0, region=region).weight > 0
    assert torch.equal(pasted[~allowed], portrait.source[~allowed])
    share = float(allowed.sum()) / float(inside_square(portrait).sum())
    assert share == pytest.approx(70 * 54 / 128**2, abs=0.01)
    assert not torch.equal(pasted[paster.weight == 1], portrait.source[paster.weight == 1])
    assert (paster.weight == 1).float().sum() > 0.2 * allowed.float().sum()


def test_a_region_over_the_whole_picture_is_cut_like_the_square(turned: Portrait) -> None:
    mask = torch.zeros(1, *turned.source.shape[:2])
    mask[:, :, : turned.source.shape[1] // 2] = 1
    weight = Paster(turned, region=mask, feather=0.0).weight
    columns = weight.sum(0).nonzero().flatten()
    assert int(columns.max()) == pytest.approx(turned.source.shape[1] // 2, abs=3)


def test_the_border_is_a_ramp() -> None:
    source = torch.zeros(100, 100, 3)
    portrait = Portrait(torch.zeros(40, 40, 3), (0, 0, 40, 40), (20.0, 20.0, 80.0, 80.0), source)
    row = paste_back(torch.ones(40, 40, 3), portrait, feather=0.2, match_colour=False)[50, :, 0]
    assert row[19] == 0 and row[50] == 1
    assert row.diff().abs().max() < 0.2
    hard = paste_back(torch.ones(40, 40, 3), portrait, feather=0, match_colour=False)[50, :, 0]
    assert hard[19] == 0 and hard[20] == 1


def test_a_crop_that_reaches_outside_is_clipped() -> None:
    portrait = Portrait(torch.zeros(32, 32, 3), (0, 0, 32, 32), (-16.0, -16.0, 16.0, 16.0), torch.zeros(30, 50, 3))
    pasted = paste_back(torch.ones(32, 32, 3), portrait, feather=0, match_colour=False)
    assert pasted.shape == (30, 50, 3) and pasted.sum() == 16 * 16 * 3
    outside = dataclasses.replace(portrait, crop_box=(-64.0, -64.0, -32.0, -32.0))
    assert torch.equal(paste_back(torch.ones(32, 32, 3), outside), outside.source)


@pytest.mark.parametrize("which", ["upright", "turned"])
def test_a_drift_of_colour_is_taken_out(which: str, request) -> None:
    portrait: Portrait = request.getfixturevalue(which)
    drifted = portrait.crop * torch.tensor([0.93, 1.0, 1.05]) + torch.tensor([0.05, -0.03, 0.0])
    truth = paste_back(portrait.crop, portrait, match_colour=False)
    plain = (paste_back(drifted, portrait, match_colour=False) - truth).abs().mean()
    matched = (paste_back(drifted, portrait) - truth).abs().mean()
    assert matched < 0.25 * plain


def test_the_frames_follow_a_moving_background(upright: Portrait) -> None:
    frames = [torch.rand(128, 128, 3) for _ in range(3)]
    originals = [upright.source * shade for shade in (1.0, 0.8, 0.6)]
    paster = Paster(upright)
    pasted = list(paste_frames(frames, paster, originals))
    outside = paster.weight == 0
    for picture, original in zip(pasted, originals, strict=True):
        assert torch.equal(picture[outside], original[outside])
    with pytest.raises(EmoInputError, match="original: found 20x10 pixels"):
        paster(frames[0], torch.zeros(10, 20, 3))


def test_frames_are_pasted_one_at_a_time(upright: Portrait) -> None:
    asked = []

    def frames():
        for index in range(1000):
            asked.append(index)
            yield upright.crop

    stream = paste_frames(frames(), Paster(upright))
    first = next(stream)
    assert asked == [0] and first.shape == upright.source.shape
    for _ in range(3):
        next(stream)
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize(("count", "told"), [(2, "the last one is held"), (4, "the rest is not used"), (3, "")])
def test_a_background_of_another_length_is_held_or_cut(
    upright: Portrait, count: int, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    originals = [upright.source * (1 - index / 10) for index in range(count)]
    paster = Paster(upright)
    with caplog.at_level(logging.WARNING):
        pasted = list(paste_frames([upright.crop] * 3, paster, originals))
    assert len(pasted) == 3
    for index, picture in enumerate(pasted):
        assert torch.equal(picture[0, 0], originals[min(index, count - 1)][0, 0])
    assert told in caplog.text and bool(told) == bool(caplog.text)


def test_a_mask_over_the_square_is_told_from_one_over_the_picture() -> None:
    """The picture is as large as the square: only the user knows which is meant."""
    source, mask = torch.zeros(64, 64, 3), torch.zeros(64, 64)
    mask[16:32, 16:32] = 1
    portrait = Portrait(torch.zeros(64, 64, 3), (0.0, 0.0, 64.0, 64.0), (16.0, 16.0, 48.0, 48.0), source)
    frame = torch.ones(64, 64, 3)
    with pytest.raises(EmoInputError, match="picture or to square"):
        Paster(portrait, region=mask)
    for over, first, last in (("picture", 16, 31), ("crop", 24, 31)):
        pasted = paste_back(frame, portrait, feather=0, region=mask, over=over, match_colour=False)
        changed = pasted.any(-1).any(0).nonzero().flatten()
        assert (int(changed[0]), int(changed[-1])) == (first, last)


def test_wrong_frames_are_named(upright: Portrait) -> None:
    with pytest.raises(EmoInputError, match="channels last"):
        paste_back(torch.zeros(2, 64, 64, 3), upright)
    with pytest.raises(EmoInputError, match="feather"):
        paste_back(upright.crop, upright, feather=0.9)


@pytest.mark.parametrize("feather", [float("nan"), float("inf"), -0.1, 0.6])
def test_a_feather_that_is_no_share_is_named(feather: float) -> None:
    portrait = prepare_portrait(torch.rand(64, 64, 3), 64, (16, 16, 48, 48))
    with pytest.raises(EmoInputError, match=r"feather: found .*; expected 0 to 0\.5"):
        Paster(portrait, feather=feather)


def test_frames_and_pictures_of_any_channels_are_pasted_as_portraits_are_read(upright: Portrait) -> None:
    """Seen: grey frames were refused where grey pictures were not."""
    paster, colour = Paster(upright), torch.rand(64, 64, 3)
    for frame in (colour[..., :1], torch.cat([colour, torch.ones(64, 64, 1)], -1)):
        assert torch.equal(paster(frame), paster(in_colour(frame, name="frame")))
    grey = upright.source[..., :1]
    assert torch.equal(paster(colour, grey), paster(colour, grey.repeat(1, 1, 3)))
    for shape in ((64, 64), (64, 64, 2)):
        with pytest.raises(EmoInputError, match=r"frame: found a tensor of shape \(64, 64"):
            paster(torch.zeros(shape))
        with pytest.raises(EmoInputError, match=r"original: found a tensor of shape \(64, 64"):
            paster(colour, torch.zeros(shape))
