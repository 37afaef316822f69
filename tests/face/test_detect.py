"""Faces are found where they are, at any scale and moderate tilt, and nothing is found where none is."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from emo_core.face import detect
from emo_core.face.crop import prepare_portrait
from emo_core.face.detect import Face, detect_faces
from emo_core.face.view import View, look

FIXTURES = Path(__file__).parents[1] / "fixtures"
BOX = (179.0, 81.0, 272.0, 174.0)  # facts/models.md: MediaPipe's box on this picture
FACE_PIXELS = 93.0


def resized(image: Tensor, scale: float) -> Tensor:
    size = [round(n * scale) for n in image.shape[:2]]
    scaled = F.interpolate(image.permute(2, 0, 1)[None], size=size, mode="bicubic", antialias=True)
    return scaled[0].permute(1, 2, 0).clamp(0, 1)


def on_canvas(image: Tensor, height: int, width: int, at: tuple[int, int]) -> Tensor:
    canvas = torch.full((height, width, 3), 0.5)
    canvas[at[1] : at[1] + image.shape[0], at[0] : at[0] + image.shape[1]] = image
    return canvas


def the_face(image: Tensor) -> Face:
    faces = detect_faces(image)
    assert len(faces) == 1
    return faces[0]


def assert_near(box: tuple[float, ...], expected: tuple[float, ...], pixels: float) -> None:
    assert max(abs(a - b) for a, b in zip(box, expected, strict=True)) < pixels, (box, expected)


def test_box_score_and_mesh_are_mediapipes(astronaut: Tensor) -> None:
    face = the_face(astronaut)
    assert_near(face.box, BOX, 3)
    assert face.score == pytest.approx(0.92, abs=0.02)
    assert face.flag > 0.99
    reference = load_file(FIXTURES / "face_reference.safetensors")["mediapipe.astronaut"]
    off = (face.landmarks - reference)[:, :2].norm(dim=-1)
    assert off.mean() < 0.006 * FACE_PIXELS  # the picture is a jpg here and a png there


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.5])
def test_the_box_is_the_same_at_any_scale(astronaut: Tensor, scale: float) -> None:
    face = the_face(resized(astronaut, scale))
    assert_near(tuple(v / scale for v in face.box), the_face(astronaut).box, 3)


@pytest.mark.parametrize("tilt_deg", [-30, 30])
def test_a_tilted_face_is_found_and_its_tilt_known(astronaut: Tensor, tilt_deg: float) -> None:
    upright = the_face(astronaut)
    view = View(256, 256, 512, math.radians(tilt_deg))  # the picture turns the other way
    face = the_face(look(astronaut, view, 512).permute(1, 2, 0))
    assert face.angle_deg == pytest.approx(upright.angle_deg - tilt_deg, abs=3)
    back = view.to_picture(face.landmarks[:, :2] / 512)
    assert (back - upright.landmarks[:, :2]).norm(dim=-1).mean() < 0.03 * FACE_PIXELS


def test_a_face_upside_down_is_known_to_be_upside_down(astronaut: Tensor) -> None:
    face = the_face(astronaut.flip(0, 1))
    assert abs(face.angle_deg) > 150
    assert_near(face.mesh_box, tuple(512 - v for v in (272, 175, 179, 71)), 4)


@pytest.mark.parametrize(("turned_score", "upright_score"), [(0.77, 0.91), (0.97, 0.78), (0.6, 0.91)])
def test_of_two_sure_findings_the_other_way_up_the_surer_one_stays(
    astronaut: Tensor, monkeypatch: pytest.MonkeyPatch, turned_score: float, upright_score: float
) -> None:
    """A turned view found an upright face upside down and was nearly sure, before another detector saw it."""
    true = the_face(astronaut)
    middle = (true.landmarks[:, :2].amin(0) + true.landmarks[:, :2].amax(0)) / 2
    over = torch.cat([2 * middle - true.landmarks[:, :2], true.landmarks[:, 2:]], dim=-1)
    turned = replace(true, score=turned_score, keypoints=2 * middle - true.keypoints, landmarks=over, flag=0.98)
    upright = replace(true, score=upright_score, flag=1.0)
    for order in ([turned, upright], [upright, turned]):
        seen = iter([[face] for face in order])
        monkeypatch.setattr(detect, "_detect_in", lambda *a, seen=seen, **k: next(seen, []))
        monkeypatch.setattr(detect, "fit_mesh", lambda picture, face: face)
        monkeypatch.setattr(detect, "_merge", lambda faces: faces)
        (face,) = detect_faces(astronaut, thorough=True)
        assert face.score == max(turned_score, upright_score)


def test_a_small_face_in_a_large_picture_is_found(astronaut: Tensor) -> None:
    canvas = on_canvas(resized(astronaut, 0.75), 1080, 1920, (1300, 500))
    assert_near(the_face(canvas).mesh_box, (1300 + 134, 500 + 53, 1300 + 204, 500 + 131), 8)


def test_a_face_that_fills_the_frame_is_found(astronaut: Tensor) -> None:
    face = the_face(astronaut[76:178, 180:272])
    assert_near(face.mesh_box, (0, -4, 92, 99), 8)


def test_two_faces_come_largest_first(astronaut: Tensor) -> None:
    head = astronaut[:256, 96:352]
    canvas = on_canvas(head, 300, 560, (290, 20))
    canvas[40 : 40 + 192, 20 : 20 + 192] = resized(head, 0.75)
    large, small = detect_faces(canvas)
    assert large.box[0] > 290 > small.box[2]


@pytest.mark.parametrize("seed", [0, 1])
def test_there_is_no_face_in_noise_or_a_flat_picture(seed: int) -> None:
    noise = torch.rand(300, 400, 3, generator=torch.Generator().manual_seed(seed))
    assert detect_faces(noise) == []
    assert detect_faces(torch.full((300, 400, 3), 0.25 + 0.5 * seed)) == []


def test_a_search_can_be_stopped_between_its_pieces() -> None:
    class Stopped(Exception):
        pass

    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 5:
            raise Stopped

    with pytest.raises(Stopped):
        detect_faces(torch.full((900, 1200, 3), 0.5), thorough=True, check=check)
    with pytest.raises(Stopped):
        asked.clear()
        prepare_portrait(torch.full((900, 1200, 3), 0.5), 64, check=check)
