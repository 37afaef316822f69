"""Puppets of unseen people: whom they are taken from, and that the model is given the untouched photograph."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from test_cases import corpus

from emo_core.errors import EmoInputError
from emo_core.evaluation import puppet_cast
from emo_core.evaluation.cases import draw_set
from emo_core.evaluation.puppet_cast import KEPT, PORTRAITS, Puppets, unseen_pictures
from emo_core.evaluation.truth import PUPPETS, TruthSpec
from emo_core.face.image import read_image
from emo_core.training.puppets.people import is_tested
from emo_core.training.puppets.photograph import person_of

TESTED = "female-52.jpg"  # the reduced picture itself is of the test split


def test_those_that_are_kept_are_as_the_portraits_say_of_themselves() -> None:
    rows = [line.split("|") for line in (PORTRAITS / "README.md").read_text().splitlines() if line.startswith("| `")]
    assert {row[1].strip(" `").removesuffix(".jpg") for row in rows if row[4].strip() == "yes"} == set(KEPT)
    assert all(path.is_file() for path in unseen_pictures(None))


def test_of_folders_only_the_people_of_the_test_split_are_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no picture")
    shutil.copy(PORTRAITS / "male-29.jpg", tmp_path / "in")
    with pytest.raises(EmoInputError, match=r"--photos: found 2 pictures, none of them of the test split"):
        unseen_pictures([tmp_path])
    shutil.copy(PORTRAITS / TESTED, tmp_path / "in")
    with caplog.at_level(logging.INFO):
        found = unseen_pictures([tmp_path])
    assert [path.name for path in found] == [TESTED] and "1 of 3 pictures" in caplog.text
    assert all(is_tested(person_of(read_image(path))) for path in found)
    with pytest.raises(EmoInputError, match=r"--photos: found no folder"):
        unseen_pictures([tmp_path / "nowhere"])


def test_without_a_checkout_photographs_must_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puppet_cast, "PORTRAITS", tmp_path / "nowhere")
    with pytest.raises(EmoInputError, match=r"--photos: found none.*--sets heads"):
        unseen_pictures(None)


def test_a_set_of_puppets_is_their_photographs_and_their_truth(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (300, 300)).save(tmp_path / "black.png")
    shutil.copy(PORTRAITS / TESTED, tmp_path / "twin.jpg")
    pictures = [tmp_path / "black.png", PORTRAITS / TESTED, tmp_path / "twin.jpg"]
    puppets = Puppets(pictures, people=20, size=128)
    assert [photograph.path for photograph in puppets.photographs] == pictures[1:2]
    tests = draw_set(puppets, corpus(), TruthSpec(cases=2, frames=4, size=128, long_frames=30, kind=PUPPETS))
    (case,) = tests.cases
    assert case.portrait.shape == (128, 128, 3) and case.frames.shape == (4, 128, 128, 3)
    squares = puppets.squares(256)
    assert squares.pictures.shape == (1, 256, 256, 3)
    halved = squares.pictures[0].reshape(128, 2, 128, 2, 3).mean((1, 3))
    assert np.abs(halved - case.portrait).mean() < 6  # the same square of the same photograph, untouched
    assert np.abs(squares.face_boxes[0] / 2 - case.portrait_box).max() < 12
    with pytest.raises(EmoInputError, match=r"--photos: found nobody in 1 pictures who can be a puppet"):
        Puppets(pictures[:1], people=1, size=128)
