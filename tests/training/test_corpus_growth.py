"""A corpus grows to the very bytes that would be made at once, and loses nothing on the way. The voice is a stand-in
for flite, as fast as it is dull."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from emo_core.errors import EmoInputError
from emo_core.training.voices import Phone, Utterance, build_corpus, corpus
from emo_core.training.voices.corpus import VoiceCorpus
from emo_core.training.voices.speech import SAMPLE_RATE, Manner

pytest.importorskip("scipy")


def hum(text: str, voice: str = "slt", manner: Manner | None = None) -> Utterance:
    """Four seconds or so of noise that follow from what is said and how."""
    rng = np.random.default_rng([len(text), *map(ord, text[:40] + voice), int((manner or Manner()).pitch * 1e6)])
    samples = rng.integers(-9, 9, int(rng.integers(2, 6) * SAMPLE_RATE)).astype(np.float32) / 64
    half = len(samples) / SAMPLE_RATE / 2
    return Utterance(samples, (Phone("pau", 0.0, half), Phone("aa", half, 2 * half)), voice, text)


@pytest.fixture(autouse=True)
def quick_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short shards, so that a corpus of several is made in a moment."""
    monkeypatch.setattr(corpus.speech, "synthesise", hum)
    monkeypatch.setattr(corpus.accents, "synthesise", hum)
    monkeypatch.setattr(corpus.accents, "can_speak", lambda: True)
    monkeypatch.setattr(corpus.song, "sing", lambda rng, length: hum(f"song {rng.random()}", "song"))
    monkeypatch.setattr(corpus, "require", lambda *_, **__: None)
    monkeypatch.setattr(corpus, "SHARD_MINUTES", 0.4)
    monkeypatch.setattr(corpus, "_TEST_MINUTES", (("test_sentences", 4.0), ("test_voice", 4.0), ("test_song", 1.0)))
    monkeypatch.setattr(corpus.alignment, "LIBRIVOX_FOLDER", Path("/nowhere"))


def made(folder: Path, *minutes: float, **more: int) -> dict[str, bytes]:
    """The files of a corpus that was asked for these minutes, one after the other."""
    for asked in minutes:
        build_corpus(folder, minutes=asked, processes=1, **more)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("steps", [(0.1, 1.0), (0.3, 0.5, 1.0), (0.4, 1.0), (0.8, 1.0), (0.9, 1.0), (1.0, 1.0)])
def test_a_corpus_that_grows_is_the_one_made_at_once(steps: tuple[float, ...], tmp_path: Path) -> None:
    assert made(tmp_path / "grown", *steps) == made(tmp_path / "at once", steps[-1])


def test_what_was_there_stays_at_its_place(tmp_path: Path) -> None:
    made(tmp_path, 0.5)
    splits = ("train", "accents", "test_sentences", "test_voice", "test_song")
    before = {split: VoiceCorpus(tmp_path).utterances(split) for split in splits}  # type: ignore[arg-type]
    whole = (tmp_path / "train-000.npz").stat().st_mtime_ns
    made(tmp_path, 1.3)
    for split, records in before.items():
        now = VoiceCorpus(tmp_path).utterances(split)  # type: ignore[arg-type]
        assert len(now) > len(records) or split not in ("train", "accents")
        for one, other in zip(records, now, strict=False):
            assert np.array_equal(one.samples16, other.samples16) and np.array_equal(one.tracks, other.tracks)
            assert (one.text, one.voice, one.phones) == (other.text, other.voice, other.phones)
    assert (tmp_path / "train-000.npz").stat().st_mtime_ns == whole  # what need not grow is not touched


def test_without_espeak_the_rest_is_made_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(corpus.accents, "can_speak", lambda: False)
    without = made(tmp_path, 0.5)
    assert "apt-get install espeak-ng" in caplog.text
    assert VoiceCorpus(tmp_path).utterances("accents") == []
    monkeypatch.setattr(corpus.accents, "can_speak", lambda: True)
    now = made(tmp_path, 0.5)
    assert {name: now.pop(name) for name in without} == without
    assert sorted(now) == ["accents-000.npz", "accents-001.npz"]


def test_fewer_minutes_than_were_made_are_used_as_they_are_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = made(tmp_path, 1.0)
    caplog.set_level(logging.INFO)
    for asked in (0.9, 0.3):
        caplog.clear()
        assert made(tmp_path, asked) == before
        assert f"{asked:g} were asked for: used as it is" in caplog.text
    caplog.clear()
    assert made(tmp_path, 1.0) == before and "asked for" not in caplog.text


def test_a_corpus_half_made_or_half_grown_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = made(tmp_path / "at once", 1.3)
    made(tmp_path / "killed", 0.5)
    real, left = corpus.random_utterance, [0]

    def dying(*given: object) -> Utterance:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(*given)  # type: ignore[arg-type]

    for utterances in (1, 6, 12):
        left[0] = utterances
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(corpus, "random_utterance", dying)
            made(tmp_path / "killed", 1.3)
        assert not list((tmp_path / "killed").glob("*.part"))
    assert made(tmp_path / "killed", 1.3) == wanted


def test_a_shard_that_is_missing_is_told_and_made_again(tmp_path: Path) -> None:
    wanted = made(tmp_path, 1.3)
    (tmp_path / "train-001.npz").unlink()
    with pytest.raises(EmoInputError, match=r"no train-001\.npz before train-003\.npz.*train voices"):
        VoiceCorpus(tmp_path).utterances("train")
    assert made(tmp_path, 0.3) == wanted  # however little is asked for: what is behind it counts from it


def test_a_copy_of_a_shard_is_not_read_in_its_place(tmp_path: Path) -> None:
    made(tmp_path, 0.9)
    wanted = VoiceCorpus(tmp_path).utterances("train")
    for name in ("train-0000.npz", "train-0003.npz", "train-old.npz"):
        shutil.copy(tmp_path / "train-002.npz", tmp_path / name)
    found = VoiceCorpus(tmp_path).utterances("train")
    assert [record.text for record in found] == [record.text for record in wanted]


def test_another_flite_does_not_change_what_was_spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = made(tmp_path, 0.5)
    monkeypatch.setattr(corpus.speech, "synthesise", lambda text, *more: hum(f"{text}!", *more))
    with pytest.raises(EmoInputError, match="the flite that it was made with"):
        made(tmp_path, 1.3)
    assert {name: data for name, data in made(tmp_path, 0.5).items() if name in before} == before


def test_a_corpus_of_shorter_shards_is_used_but_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier versions made 6 minutes of two shards of three."""
    before = made(tmp_path, 0.8)
    monkeypatch.setattr(corpus, "SHARD_MINUTES", 0.6)
    assert made(tmp_path, 0.7) == before
    with pytest.raises(EmoInputError, match=r"1\.5, and 0\.\d in shards of an earlier version"):
        made(tmp_path, 1.5)
    assert made(tmp_path, 0.7) == before


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf"), 1e12])
def test_minutes_that_cannot_be(minutes: float, tmp_path: Path) -> None:
    with pytest.raises(EmoInputError, match="minutes: found"):
        build_corpus(tmp_path / "new", minutes=minutes)
    assert not (tmp_path / "new").exists()


def test_another_seed_is_refused_with_both(tmp_path: Path) -> None:
    before = made(tmp_path, 0.3, seed=1)
    with pytest.raises(EmoInputError, match=r"'seed': 1.*'seed': 2"):
        made(tmp_path, 0.3, seed=2)
    (tmp_path / "corpus.json").write_text("my corpus")
    with pytest.raises(EmoInputError, match=r"corpus\.json, which is no JSON"):
        made(tmp_path, 0.3, seed=1)
    assert (tmp_path / "corpus.json").read_text() == "my corpus"
    assert (tmp_path / "train-000.npz").read_bytes() == before["train-000.npz"]
