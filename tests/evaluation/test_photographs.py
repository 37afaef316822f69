"""Detail and what the mesh sees of portraits without truth, on pictures whose answer is known; both ways to a size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from emo_core.config import EMO_MINI, EMO_MINI_HEADS, TINY, TINY_REFERENCED
from emo_core.data import GenerateSettings
from emo_core.evaluation import photographs
from emo_core.evaluation.faces import follow
from emo_core.evaluation.photographs import scaled, show, shown_sizes, skin_mask
from emo_core.evaluation.pictures import laplacian_energy
from emo_core.evaluation.truth import PUPPETS, Squares, TruthSet, TruthSpec
from emo_core.face.crop import prepare_portrait
from emo_core.face.image import read_image

PORTRAIT = Path(__file__).parents[1] / "data" / "portraits" / "male-7.jpg"


@pytest.fixture(scope="module")
def squares() -> Squares:
    portrait = prepare_portrait(read_image(PORTRAIT), 128)
    picture = (portrait.crop * 255).round().byte().numpy()
    return Squares(np.stack([picture, picture]), np.array([portrait.face_box] * 2, np.float32))


def made_set(squares: Squares) -> TruthSet:
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, 12 * 640).astype(np.float32)
    return TruthSet(TruthSpec(size=64, kind=PUPPETS, shown=128), (), np.zeros((0, 64, 64, 3), np.uint8), sound, squares)


def test_detail_is_counted_where_it_is_asked_for() -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[::2, ::2], picture[1::2, 1::2] = 30, 30  # a chequer: every Laplacian is 4 * 30
    left = np.zeros((16, 16), bool)
    left[:, :8] = True
    assert laplacian_energy(picture, left) == pytest.approx((4 * 30) ** 2)
    picture[:, :10] = 7
    assert laplacian_energy(picture, left) == 0
    assert np.isnan(laplacian_energy(picture, np.zeros((16, 16), bool)))


def test_skin_is_the_face_without_eyes_and_mouth(squares: Squares) -> None:
    face = follow(squares.pictures[:1])
    assert face is not None
    points = face.landmarks[0].numpy()
    skin = skin_mask(points, 128)
    for name, (x, y) in {"eye": points[[33, 133], :2].mean(0), "lip": points[14, :2], "hair": (3, 3)}.items():
        assert not skin[int(y), int(x)], name
    for name, (x, y) in {"cheek": points[50, :2], "forehead": points[151, :2], "chin": points[199, :2]}.items():
        assert skin[int(y), int(x)], name
    assert 0.1 < skin.mean() < 0.4


def test_what_a_model_paints_is_enlarged_and_what_it_carries_is_not() -> None:
    assert shown_sizes(EMO_MINI_HEADS) == (128, 256, 512)
    assert shown_sizes(EMO_MINI) == (256, 512)
    assert shown_sizes(TINY_REFERENCED) == (64, 128)


def test_a_photograph_that_is_held_keeps_its_detail_and_a_soft_one_does_not(squares: Squares) -> None:
    held = photographs._seen(squares.pictures[0], np.repeat(squares.pictures[:1], 4, axis=0), holds_still=True)
    assert held.detail == pytest.approx(1.0, abs=0.04) and held.lost == 0 and held.still == 0
    soft = scaled(scaled(squares.pictures[:1], 32), 128)
    blurred = photographs._seen(squares.pictures[0], np.repeat(soft, 4, axis=0), holds_still=False)
    assert blurred.detail < 0.4 and blurred.still is None and blurred.strip.shape == (4, 128, 128, 3)
    nothing = photographs._seen(squares.pictures[0], np.zeros((4, 128, 128, 3), np.uint8), holds_still=True)
    assert np.isnan(nothing.detail) and nothing.lost == nothing.frames == 4


@pytest.mark.parametrize("config", [TINY, TINY_REFERENCED], ids=["enlarged", "carried"])
def test_portraits_are_shown_at_every_size(config, squares: Squares, monkeypatch: pytest.MonkeyPatch) -> None:
    from emo_core.models.emo import EmoModel

    torch.manual_seed(0)
    monkeypatch.setattr(photographs, "ENLARGED", (96, 128))
    model, tests = EmoModel(config).eval(), made_set(squares)
    found = show(model, tests, GenerateSettings(), people=5, frames=6)
    assert [showing.size for showing in found] == 2 * list(shown_sizes(config))
    assert all(showing.frames == 6 and showing.strip.shape[1] == showing.size for showing in found)
    again = show(model, tests, GenerateSettings(), people=1, frames=6)
    assert np.array_equal(again[0].strip, found[0].strip)
