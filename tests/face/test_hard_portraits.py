"""Portraits as they come: for every kind either a well-framed crop or an error that says what to do."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from portrait_cases import (
    FIXTURES,
    SMILEY_BOX,
    TESTS,
    cartoon,
    cases,
    scaled,
    smiley,
    tilted,
    tiny_face,
    where,
)
from torch import Tensor
from torch.nn import functional as F

from emo_core.errors import EmoInputError
from emo_core.face.crop import FACE_CENTRE_Y, FACE_SHARE, LEVEL_DEG, prepare_portrait
from emo_core.face.detect import detect_faces
from emo_core.face.image import as_image, read_image
from emo_core.face.pose import head_angles

NAMES = list(cases(torch.zeros(512, 512, 3), torch.zeros(512, 512, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_is_framed_as_in_training_and_upright(astronaut: Tensor, rendered: Tensor, name: str) -> None:
    portrait = prepare_portrait(cases(astronaut, rendered)[name], 128)
    left, top, right, bottom = portrait.face_box
    longer = max(right - left, bottom - top)
    assert longer / 128 == pytest.approx(FACE_SHARE, abs=0.01)
    assert (left + right) / 2 == pytest.approx(64, abs=2) and (top + bottom) / 2 == pytest.approx(
        128 * FACE_CENTRE_Y, abs=2
    )
    assert portrait.landmarks is not None
    assert abs(float(head_angles(portrait.landmarks)[2])) <= LEVEL_DEG
    seen = detect_faces(portrait.crop)
    assert seen and abs(seen[0].angle_deg) <= LEVEL_DEG + 3  # what the network sees is an upright face


@pytest.mark.parametrize("tilt_deg", [15.0, 30.0, 42.0, -30.0, -45.0])
def test_a_tilted_face_gives_the_crop_of_the_upright_one(astronaut: Tensor, tilt_deg: float) -> None:
    upright = prepare_portrait(astronaut, 128, angle_deg=detect_faces(astronaut)[0].angle_deg)
    portrait = prepare_portrait(tilted(astronaut, tilt_deg), 128)
    assert portrait.angle_deg == pytest.approx(upright.angle_deg + tilt_deg, abs=2.5)
    assert portrait.landmarks is not None and upright.landmarks is not None
    assert (portrait.landmarks - upright.landmarks)[:, :2].norm(dim=-1).mean() < 2.0  # pixels of 128
    coarse = [F.avg_pool2d(crop.permute(2, 0, 1), 8) for crop in (portrait.crop, upright.crop)]
    assert (coarse[0] - coarse[1]).abs().mean() < 0.08  # 0.22 where it is not set upright


def test_the_square_of_a_tilted_face_lies_around_it(astronaut: Tensor) -> None:
    face = detect_faces(astronaut)[0]
    portrait = prepare_portrait(tilted(astronaut, 30), 128)
    left, top, right, bottom = portrait.crop_box
    middle = where(face.landmarks[:, :2].mean(0), 30)
    assert torch.tensor([(left + right) / 2, (top + bottom) / 2]).sub(middle).norm() < 0.2 * (right - left)


def test_a_slight_tilt_is_left_and_a_given_one_is_taken(astronaut: Tensor) -> None:
    assert prepare_portrait(astronaut, 64).angle_deg == 0.0  # she leans by 3 degrees
    assert prepare_portrait(astronaut, 64, angle_deg=-20.0).angle_deg == -20.0
    assert prepare_portrait(tilted(astronaut, 30), 64, angle_deg=0.0).angle_deg == 0.0


@pytest.mark.parametrize(("name", "yaw"), [("right_45", 45), ("left_45", -45)])
def test_a_side_view_is_told_with_its_yaw(name: str, yaw: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        portrait = prepare_portrait(read_image(FIXTURES / "portraits" / f"rendered_yaw_{name}.jpg"), 64)
    (note,) = portrait.notes
    assert note in caplog.text
    measured = int(note.split("turned ")[1].split(" degrees")[0])
    assert measured == pytest.approx(abs(yaw), abs=5) and ("right" if yaw > 0 else "left") in note


def test_a_half_side_view_is_no_matter_and_a_tilt_is_no_yaw(astronaut: Tensor) -> None:
    half = prepare_portrait(read_image(FIXTURES / "portraits" / "rendered_yaw_right_25.jpg"), 64)
    assert half.notes == () and half.landmarks is not None
    assert float(head_angles(half.landmarks)[0]) == pytest.approx(25, abs=4)
    assert prepare_portrait(tilted(astronaut, 42), 64).notes == ()


@pytest.mark.parametrize(("left", "top"), [(2900, 1300), (200, 100)])
def test_a_face_of_64_pixels_in_4k_is_found_where_it_is(astronaut: Tensor, left: int, top: int) -> None:
    portrait = prepare_portrait(tiny_face(astronaut, left=left, top=top), 128)
    scale = 64 / 104
    expected = (left + (138 - 90) * scale, top + 24 * scale, left + (313 - 90) * scale, top + 199 * scale)
    assert portrait.crop_box == pytest.approx(expected, abs=12)
    assert portrait.notes == ()


def test_a_tiny_face_that_is_enlarged_is_told_to_be_blurry(astronaut: Tensor) -> None:
    portrait = prepare_portrait(scaled(astronaut, 64 / 104), 512)
    assert any("enlarged" in note and "blurry" in note for note in portrait.notes)
    with pytest.raises(EmoInputError, match=r"pixels in height.*at least"):
        prepare_portrait(scaled(astronaut, 0.25), 512)


@pytest.mark.parametrize("name", ["cut left", "cut above", "cut right", "cut below"])
def test_a_face_cut_by_the_border_is_told(astronaut: Tensor, rendered: Tensor, name: str) -> None:
    portrait = prepare_portrait(cases(astronaut, rendered)[name], 64)
    assert any("beyond the picture's border" in note for note in portrait.notes)
    assert portrait.angle_deg == 0.0 and portrait.crop.isfinite().all()


# A process of its own, so that no test before it has already had a higher peak.
IN_8K = """
import resource, sys, time, torch
from pathlib import Path
sys.path[:0] = sys.argv[1:]
from portrait_cases import RENDERED, placed, scaled, scenery
from emo_core.face.crop import prepare_portrait
from emo_core.face.drawing import draw_portrait
from emo_core.face.image import read_image

torch.set_num_threads(1)
small = placed(scaled(read_image(RENDERED), 300 / 512), scenery(540, 960), 500, 100)
expected = prepare_portrait(small, 128)
large = torch.empty(4320, 7680, 3)
for channel in range(3):
    plane = small[None, None, ..., channel]
    large[..., channel] = torch.nn.functional.interpolate(plane, size=(4320, 7680), mode="bilinear")[0, 0]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, began = peak(), time.process_time()
portrait = prepare_portrait(large, 128)
draw_portrait(portrait)
assert portrait.source.data_ptr() == large.data_ptr(), "the picture itself is not copied"
print((peak() - before) / 2**20, time.process_time() - began, float((portrait.crop - expected.crop).abs().mean()))
"""


def test_a_picture_of_8k_takes_little_more_than_itself() -> None:
    folders = [str(Path(__file__).parent), str(TESTS.parent)]
    done = subprocess.run([sys.executable, "-c", IN_8K, *folders], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    grown_gb, seconds, off = (float(word) for word in done.stdout.split())
    assert grown_gb < 0.8, "beside a picture of 0.4 GB"
    assert seconds < 20 and off < 0.03


def test_grey_and_transparent_pictures_are_portraits(astronaut: Tensor) -> None:
    grey = prepare_portrait(astronaut.mean(-1, keepdim=True), 64)
    assert torch.equal(grey.crop[..., 0], grey.crop[..., 1])
    alpha = torch.ones(512, 512, 1)
    alpha[:, 400:] = 0
    seen = prepare_portrait(torch.cat([astronaut, alpha], dim=-1), 64)
    assert (seen.source[:, 400:] == 0.5).all() and torch.equal(seen.source[:, :400], astronaut[:, :400])


def test_values_beyond_0_and_1_are_clamped_and_others_not_copied() -> None:
    inside = torch.rand(20, 20, 3)
    assert as_image(inside).data_ptr() == inside.data_ptr()
    assert as_image(inside * 2 - 0.5).aminmax() == (0.0, 1.0)


def test_a_drawing_without_a_face_says_what_to_do_and_takes_a_box_or_a_mask() -> None:
    drawing = smiley()
    with pytest.raises(EmoInputError, match=r"no face.*Drawings.*face_mask.*face_box"):
        prepare_portrait(drawing, 128)
    boxed = prepare_portrait(drawing, 128, SMILEY_BOX)
    mask = torch.zeros(256, 256)
    mask[53:203, 53:203] = 1
    masked = prepare_portrait(drawing, 128, face_mask=mask)
    for portrait in (boxed, masked):
        assert portrait.face_box[3] - portrait.face_box[1] == pytest.approx(128 * FACE_SHARE, abs=2)
    assert masked.crop_box == pytest.approx(boxed.crop_box, abs=3)


def test_a_tilted_drawing_is_set_upright_by_the_angle_given(astronaut: Tensor) -> None:
    turned = tilted(smiley(), 30)
    box = tuple(value + 128 for value in SMILEY_BOX)
    upright = prepare_portrait(smiley(), 128, SMILEY_BOX)
    portrait = prepare_portrait(turned, 128, box, angle_deg=30.0)
    assert (portrait.crop - upright.crop).abs().mean() < 0.05
    assert prepare_portrait(cartoon(), 128).landmarks is not None  # this one is found
