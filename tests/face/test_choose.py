"""Of several people the one that is meant: by number, from the left, under a mask, or the largest with a word of it."""

import logging

import pytest
import torch
from portrait_cases import smiley, two_people
from torch import Tensor

from emo_core.errors import EmoInputError
from emo_core.face.choose import choose_face, given_face
from emo_core.face.crop import prepare_portrait


@pytest.fixture(scope="module")
def pair(astronaut: Tensor, rendered: Tensor) -> Tensor:
    """A small face on the left, a large one on the right, 400 pixels high; they meet at x = 340."""
    return two_people(astronaut, rendered)


def middle(box: tuple[float, ...]) -> float:
    return (box[0] + box[2]) / 2


def test_the_largest_is_taken_and_the_number_of_faces_said(pair: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        portrait = prepare_portrait(pair, 64)
    assert "2 faces" in caplog.text and portrait.notes and len(portrait.faces) == 2
    assert middle(portrait.crop_box) > 340


@pytest.mark.parametrize(("order", "index", "on_the_right"), [("size", 0, 1), ("size", 1, 0)])
def test_an_index_counts_by_size(pair: Tensor, order: str, index: int, on_the_right: int) -> None:
    choice = choose_face(pair, index=index, order=order)
    assert (middle(choice.box) > 340) == bool(on_the_right) and choice.notes == ()
    assert choice.faces[index] == choice.box


def test_an_index_counts_from_the_left(pair: Tensor) -> None:
    assert [middle(choose_face(pair, index=i, order="left to right").box) > 340 for i in (0, 1)] == [False, True]
    default = choose_face(pair, order="left to right")
    assert middle(default.box) > 340, "without an index it is still the largest"
    assert default.faces == tuple(sorted(default.faces))


@pytest.mark.parametrize("index", [-1, 2])
def test_an_index_that_nobody_has_is_named_with_those_there_are(pair: Tensor, index: int) -> None:
    with pytest.raises(EmoInputError, match=r"face_index: found -?\d with 2 faces.*0 to 1 \(leftmost first\)"):
        choose_face(pair, index=index, order="left to right")


def test_an_unknown_order_is_named(pair: Tensor) -> None:
    with pytest.raises(EmoInputError, match="face_order"):
        choose_face(pair, order="age")


@pytest.mark.parametrize(("columns", "on_the_right"), [((80, 260), False), ((400, 700), True)])
def test_a_rough_mask_chooses_a_face_with_its_own_box(
    pair: Tensor, columns: tuple[int, int], on_the_right: bool
) -> None:
    mask = torch.zeros(1, pair.shape[0] // 2, pair.shape[1] // 2)
    mask[:, 20:190, columns[0] // 2 : columns[1] // 2] = 1
    choice = choose_face(pair, mask=mask)
    assert (middle(choice.box) > 340) == on_the_right and choice.landmarks is not None
    assert choice.box in choice.faces and choice.notes == ()


def test_a_mask_beside_all_faces_is_refused(pair: Tensor) -> None:
    mask = torch.zeros(pair.shape[:2])
    mask[380:, :30] = 1
    with pytest.raises(EmoInputError, match=r"face_mask: found a mask that covers 0%.*2 faces"):
        choose_face(pair, mask=mask)
    with pytest.raises(EmoInputError, match="empty mask"):
        choose_face(pair, mask=torch.zeros(10, 10))


def test_without_any_face_the_mask_is_the_face() -> None:
    mask = torch.zeros(512, 512)
    mask[100:400, 120:390] = 1
    choice = choose_face(smiley(), mask=mask)
    assert choice.marked and choice.box == pytest.approx((120, 100, 390, 400), abs=1)


def test_a_box_around_a_tilted_face_finds_its_mesh(astronaut: Tensor) -> None:
    from portrait_cases import tilted

    turned = tilted(astronaut, 30)
    face = choose_face(turned, index=0)
    assert face.landmarks is not None
    boxed = given_face(turned, face.box)
    assert boxed.landmarks is not None
    assert (boxed.landmarks - face.landmarks)[:, :2].norm(dim=-1).mean() < 4
    portrait = prepare_portrait(turned, 64, face.box)
    assert portrait.angle_deg == pytest.approx(33, abs=3)
