"""The test set is read from its folder without any renderer, and only if it is the one that was asked for."""

import dataclasses
from unittest.mock import Mock

import numpy as np
import pytest

from emo_core.errors import EmoInputError
from emo_core.evaluation import testset
from emo_core.evaluation.testset import Case, TruthSet, TruthSpec, load_testset, save_testset

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
        load_testset(tmp_path, other, voices=tmp_path)


def test_a_set_of_other_voices_is_not_taken_for_that_of_these(tmp_path, monkeypatch, caplog):
    these, others = tmp_path / "these", tmp_path / "others"
    for folder, content in ((these, b"one"), (others, b"another")):
        folder.mkdir()
        (folder / "test_voice-000.npz").write_bytes(content)
    drawn = []
    monkeypatch.setattr(testset, "_make", lambda *asked: drawn.append(asked) or made_set())
    for voices in (these, these, None):  # without voices, the set that is there is taken
        load_testset(tmp_path / "set", SPEC, voices)
    assert len(drawn) == 1 and "anew" not in caplog.text
    load_testset(tmp_path / "set", SPEC, others)
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
