"""The test set is read from its folder without any renderer, and only if it is the one that was asked for."""

import dataclasses
import json
from unittest.mock import Mock

import numpy as np
import pytest

from emo_core.errors import EmoInputError
from emo_core.evaluation import testset
from emo_core.evaluation.testset import Sources, load_testset, refuse_testset, save_testset
from emo_core.evaluation.truth import PUPPETS, Case, Squares, TruthSet, TruthSpec

SPEC = TruthSpec(cases=2, frames=4, people=3, size=16, long_frames=8)


def made_case(index: int) -> Case:
    rng = np.random.default_rng(index)

    def boxes() -> np.ndarray:
        return rng.uniform(0, 16, (4, 4)).astype(np.float32)

    return Case(
        name=f"{index:03d}-voice-moving",
        voices="voice",
        moving=bool(index % 2),
        frames=rng.integers(0, 255, (4, 16, 16, 3), np.uint8),
        face_box=boxes(),
        mouth_box=boxes(),
        eye_box=boxes(),
        mouth_open=rng.random(4).astype(np.float32),
        jaw=rng.random(4).astype(np.float32),
        speed_deg=rng.random(4).astype(np.float32),
        samples=rng.uniform(-1, 1, 2560).astype(np.float32),
        portrait=rng.integers(0, 255, (16, 16, 3), np.uint8),
        portrait_box=boxes()[0],
    )


def made_set() -> TruthSet:
    others = np.zeros((1, 16, 16, 3), np.uint8)
    return TruthSet(SPEC, (made_case(0), made_case(1)), others, np.linspace(-1, 1, 5120, dtype=np.float32))


def test_a_saved_set_is_read_back(tmp_path):
    written = made_set()
    save_testset(tmp_path, written)
    read = load_testset(tmp_path, SPEC)
    assert read.spec == SPEC and len(read.cases) == 2
    for a, b in zip(written.cases, read.cases, strict=True):
        for field in dataclasses.fields(Case):
            one, other = getattr(a, field.name), getattr(b, field.name)
            if isinstance(one, np.ndarray):
                assert one.dtype == other.dtype
                assert np.allclose(one, other, atol=1e-4), field.name
            else:
                assert one == other and type(one) is type(other), field.name
    assert np.allclose(read.long_samples, written.long_samples, atol=1e-4)


def test_more_clips_than_people_are_refused(tmp_path):
    with pytest.raises(EmoInputError, match="clips"):
        load_testset(tmp_path, dataclasses.replace(SPEC, cases=4))


def test_a_set_of_another_spec_is_not_taken(tmp_path):
    save_testset(tmp_path, made_set())
    other = dataclasses.replace(SPEC, seed=1)
    with pytest.raises(EmoInputError, match="corpus"):  # it goes on to draw, and there is no corpus to draw with
        load_testset(tmp_path, other, Sources(voices=tmp_path))


def test_a_set_of_other_voices_is_not_taken_for_that_of_these(tmp_path, monkeypatch, caplog):
    these, others = tmp_path / "these", tmp_path / "others"
    for folder, content in ((these, b"one"), (others, b"another")):
        folder.mkdir()
        (folder / "test_voice-000.npz").write_bytes(content)
    drawn = []

    def make(folder, spec, sources):
        drawn.append(spec)
        return dataclasses.replace(made_set(), spec=spec, cases=made_set().cases[: spec.cases])

    monkeypatch.setattr(testset, "_make", make)
    for voices in (these, these, None):  # without voices, the set that is there is taken
        load_testset(tmp_path / "set", SPEC, Sources(voices=voices))
    assert len(drawn) == 1 and "anew" not in caplog.text
    load_testset(tmp_path / "set", SPEC, Sources(voices=others))
    assert len(drawn) == 2 and "other voices: it is drawn anew" in caplog.text
    smaller = dataclasses.replace(SPEC, cases=1)
    load_testset(tmp_path / "set", smaller)
    assert len(drawn) == 3 and "'cases': 2" in caplog.text and "'cases': 1" in caplog.text


def test_a_set_half_drawn_anew_is_taken_for_neither(tmp_path, monkeypatch):
    save_testset(tmp_path, made_set())
    monkeypatch.setattr(testset.np, "savez_compressed", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_testset(tmp_path, made_set())
    monkeypatch.setattr(testset, "_make", Mock(side_effect=InterruptedError("drawn again")))
    with pytest.raises(InterruptedError, match="drawn again"):  # and what is left is not read
        load_testset(tmp_path, SPEC)


PUPPET_SPEC = dataclasses.replace(SPEC, cases=3, kind=PUPPETS, shown=32)


def made_puppets() -> TruthSet:
    squares = Squares(np.full((2, 32, 32, 3), 9, np.uint8), np.ones((2, 4), np.float32))
    return dataclasses.replace(made_set(), spec=PUPPET_SPEC, squares=squares)


def test_fewer_clips_than_were_asked_for_and_portraits_without_truth_are_read_back(tmp_path):
    save_testset(tmp_path, made_puppets())
    read = load_testset(tmp_path, PUPPET_SPEC)
    assert len(read.cases) == 2 and read.spec == PUPPET_SPEC
    assert np.array_equal(read.squares.pictures, made_puppets().squares.pictures)
    assert read.squares.face_boxes.dtype == np.float32
    note = json.loads((tmp_path / "testset.json").read_text())
    for drawn in (0, 4, "two"):
        (tmp_path / "testset.json").write_text(json.dumps(note | {"drawn": drawn}))
        with pytest.raises(EmoInputError, match=r"clips of 3"):
            load_testset(tmp_path, PUPPET_SPEC)


def test_a_set_of_an_earlier_version_is_one_of_heads(tmp_path):
    save_testset(tmp_path, made_set())
    note = json.loads((tmp_path / "testset.json").read_text())
    for name in ("kind", "shown", "drawn"):
        del note[name]
    (tmp_path / "testset.json").write_text(json.dumps(note))
    assert len(load_testset(tmp_path, SPEC).cases) == 2


def test_a_set_of_other_photographs_is_not_taken_for_that_of_these(tmp_path, monkeypatch, caplog):
    these, others = tmp_path / "these", tmp_path / "others"
    for folder, content in ((these, b"one"), (others, b"another")):
        folder.mkdir()
        (folder / "a.jpg").write_bytes(content)
    drawn = []
    monkeypatch.setattr(testset, "_make", lambda *asked: drawn.append(asked) or made_puppets())
    for photos in ((these,), (these,), None):  # without photographs, the puppets that are there are taken
        load_testset(tmp_path / "set", PUPPET_SPEC, Sources(photos=photos))
    assert len(drawn) == 1 and "anew" not in caplog.text
    load_testset(tmp_path / "set", PUPPET_SPEC, Sources(photos=(others,)))
    assert len(drawn) == 2 and "other photos: it is drawn anew" in caplog.text


def test_sets_share_who_speaks_and_photographs_of_nobody_are_told_before_any_work(tmp_path, monkeypatch):
    pytest.importorskip("numba")
    asked = {}
    monkeypatch.setattr(testset, "require", lambda who, **lacks: asked.update(lacks))
    (tmp_path / "portraits").mkdir()
    (tmp_path / "portraits" / "a.png").write_bytes(b"no picture")
    sources = Sources(photos=(tmp_path / "portraits",), spoken=tmp_path / "voices")
    with pytest.raises(EmoInputError, match="--photos: found 1 pictures, none of them of the test split"):
        refuse_testset(tmp_path / "puppets", PUPPET_SPEC, sources)
    assert asked["programs"] == ("flite",) and {"numba", "scipy"} <= set(asked["packages"])
    assert "anny" not in asked["packages"] and not (tmp_path / "puppets").exists()
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "test_voice-000.npz").write_bytes(b"there")
    with pytest.raises(EmoInputError, match="--photos"):
        refuse_testset(tmp_path / "puppets", PUPPET_SPEC, sources)
    assert asked["programs"] == ()
    save_testset(tmp_path / "puppets", made_puppets())
    for size in (16, 0):  # of which size the model is, is not known yet
        refuse_testset(tmp_path / "puppets", dataclasses.replace(PUPPET_SPEC, size=size, shown=0))
