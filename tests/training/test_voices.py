"""Voices: phones cover the sound, the mouth does what they ask, the corpus is the same twice and split cleanly."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from emo_core.errors import EmoInputError
from emo_core.training.voices import (
    MOUTH_ACTIONS,
    PHONES,
    Phone,
    Utterance,
    VoiceCorpus,
    accents,
    build_corpus,
    loudness_track,
    mouth_track,
    synthesise,
)
from emo_core.training.voices.alignment import LIBRIVOX_FOLDER, align, librivox_clips
from emo_core.training.voices.phones import VOWELS, canonical
from emo_core.training.voices.sentences import is_test_sentence, sentence
from emo_core.training.voices.song import sing
from emo_core.training.voices.speech import Manner, join, silence
from emo_core.training.voices.visemes import _SHAPES, phone_frames

needs_espeak = pytest.mark.skipif(not accents.can_speak(), reason="espeak-ng is not installed")
needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")


def said(*labels: str, each_s: float = 0.2, level: float = 0.3) -> Utterance:
    """Phones of equal length over a tone."""
    n = round(len(labels) * each_s * 16000)
    samples = (level * np.sin(np.arange(n) * 0.2)).astype(np.float32)
    phones = tuple(Phone(label, i * each_s, (i + 1) * each_s) for i, label in enumerate(labels))
    return Utterance(samples, phones, "test", "")


def covers(utterance: Utterance) -> bool:
    ends = [p.end_s for p in utterance.phones]
    starts = [p.start_s for p in utterance.phones]
    joined = np.allclose(starts[1:], ends[:-1]) and starts[0] == 0
    return joined and abs(ends[-1] - utterance.duration_s) < 0.02 and {p.label for p in utterance.phones} <= set(PHONES)


def test_every_phone_has_a_mouth() -> None:
    assert set(_SHAPES) == set(PHONES)
    assert canonical("AH0") == "ah"
    with pytest.raises(KeyError):
        canonical("qq")


def test_vowels_open_and_bilabials_shut() -> None:
    jaw = mouth_track(said("pau", "aa", "m", "aa", "iy", "pau"), 25)["jawOpen"]
    assert jaw.shape == (30,)
    assert jaw[7] > 0.6 and jaw[17] > 0.6  # the middles of both aa
    assert jaw[12] < 0.1  # m
    assert 0.1 < jaw[22] < 0.4  # iy
    assert max(jaw[1], jaw[-1]) < 0.02


@pytest.mark.parametrize(
    ("phone", "action", "least"),
    [("uw", "mouthPucker", 0.6), ("f", "mouthRollLower", 0.5), ("th", "tongueOut", 0.3), ("ao", "mouthFunnel", 0.4)],
)
def test_each_sound_has_its_shape(phone: str, action: str, least: float) -> None:
    tracks = mouth_track(said("pau", "eh", phone, "eh", "pau"), 25)
    assert tracks[action][12] > least
    assert tracks[action][7] < 0.5 * tracks[action][12]


def test_lips_round_before_their_vowel() -> None:
    """Coarticulation: a t before uw is already rounded, one before iy is not."""
    before_uw = mouth_track(said("pau", "t", "uw", "pau", each_s=0.08), 50)["mouthPucker"]
    before_iy = mouth_track(said("pau", "t", "iy", "pau", each_s=0.08), 50)["mouthPucker"]
    assert before_uw[6] > 0.2 > 0.02 > before_iy[6]


def test_louder_opens_wider() -> None:
    utterance = said("aa", "aa", "aa", "aa")
    gain = np.where(np.arange(len(utterance.samples)) < len(utterance.samples) // 2, 1.0, 0.05)
    quiet_later = Utterance((utterance.samples * gain).astype(np.float32), utterance.phones, "test", "")
    jaw = mouth_track(quiet_later, 25)["jawOpen"]
    assert jaw[5] > 1.3 * jaw[15]


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 60.0])
def test_tracks_have_the_frames_of_the_video(fps: float) -> None:
    utterance = said("pau", "ae", "t", "pau", each_s=0.237)
    tracks = mouth_track(utterance, fps)
    assert tuple(tracks) == MOUTH_ACTIONS
    n = round(utterance.duration_s * fps)
    assert all(t.shape == (n,) and t.min() >= 0 and t.max() <= 1 for t in tracks.values())
    assert loudness_track(utterance, fps).shape == (n,) == phone_frames(utterance, fps).shape


def test_silence_is_silent() -> None:
    quiet = silence(2.0, np.random.default_rng(0))
    assert covers(quiet)
    assert max(float(t.max()) for t in mouth_track(quiet, 25).values()) == 0.0


def test_song_holds_vowels_and_is_seeded() -> None:
    song = sing(np.random.default_rng(3), 4.0)
    again = sing(np.random.default_rng(3), 4.0)
    assert covers(song)
    assert np.array_equal(song.samples, again.samples)
    assert max(p.end_s - p.start_s for p in song.phones if p.label in VOWELS) > 0.3
    loud, mouth = loudness_track(song, 25), mouth_track(song, 25)["jawOpen"]
    assert np.corrcoef(loud, mouth)[0, 1] > 0.4


def test_sentences_never_cross_sides() -> None:
    rng = np.random.default_rng(0)
    train = {sentence(rng, test=False) for _ in range(400)}
    test = {sentence(rng, test=True) for _ in range(100)}
    assert len(train) > 390
    assert not train & test
    assert all(is_test_sentence(s) for s in test)


@needs_flite
@pytest.mark.parametrize(
    "after", ["exit 3", 'rm "$f"', 'truncate -s 0 "$f"', 'truncate -s 44 "$f"', 'truncate -s 9000 "$f"']
)
def test_a_sound_that_flite_could_not_write_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """On a full disk flite says nothing and ends as if all were well, with a file of no bytes or a part of the sound;
    seen: "flite: found ; expected speech", and a part was taken for the whole."""
    program = tmp_path / "flite"
    program.write_text(f'#!/bin/sh\n{shutil.which("flite")} "$@"\nfor f; do :; done\n{after}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    sentence = (
        r"flite: found no whole sound written \(exit status \d\); expected speech\. See that the disk of temporary"
    )
    with pytest.raises(EmoInputError, match=sentence):
        synthesise("She had a dark suit.", "slt")


@needs_flite
def test_no_place_for_what_flite_writes_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(EmoInputError, match=r"no whole sound written \(No such file or directory\).*gone\) has room"):
        synthesise("She had a dark suit.", "slt")


@needs_flite
def test_flite_times_fit_the_sound() -> None:
    plain = synthesise("my father bought a very big boat", "slt")
    slow = synthesise("my father bought a very big boat", "slt", Manner(stretch=1.5))
    tall = synthesise("my father bought a very big boat", "slt", Manner(tract=0.85))
    assert covers(plain) and covers(slow) and covers(tall)
    assert slow.duration_s == pytest.approx(1.5 * plain.duration_s, rel=0.03)
    assert tall.duration_s == pytest.approx(plain.duration_s, rel=0.03)  # the tract changes pitch, not rate
    loud = loudness_track(tall, 50)
    speaking = phone_frames(tall, 50) != "pau"
    assert loud[speaking].mean() > loud[~speaking].mean() + 0.4
    assert covers(join([plain, silence(0.5, np.random.default_rng(0)), slow]))


@needs_espeak
@pytest.mark.parametrize("voice", ["gmw/en-US+f2", "gmw/en-GB-scotland+m3", "gmw/en-029+klatt4"])
def test_accents_times_fit_the_sound(voice: str) -> None:
    plain = accents.synthesise("my father bought a very big boat", voice)
    slow = accents.synthesise("my father bought a very big boat", voice, Manner(stretch=1.5))
    tall = accents.synthesise("my father bought a very big boat", voice, Manner(tract=0.85))
    assert covers(plain) and covers(slow) and covers(tall)
    assert slow.duration_s > 1.2 * plain.duration_s  # pauses do not stretch
    assert tall.duration_s == pytest.approx(plain.duration_s, rel=0.1)
    for spoken in (plain, tall):
        loud, labels = loudness_track(spoken, 50), phone_frames(spoken, 50)
        assert loud[np.isin(labels, VOWELS)].mean() > loud[labels == "pau"].mean() + 0.4
    assert {p.label for p in plain.phones} >= {"m", "f", "b", "v", "pau"}


@needs_espeak
def test_every_accent_has_every_throat() -> None:
    rng = np.random.default_rng(0)
    for number, throat in enumerate(accents.THROATS):
        voice = f"{accents.ACCENTS[number % len(accents.ACCENTS)]}+{throat}"
        spoken = accents.synthesise(sentence(rng, test=False), voice)
        assert covers(spoken) and spoken.voice == voice and np.abs(spoken.samples).max() > 0.05
        assert sum(p.end_s - p.start_s for p in spoken.phones if p.label != "pau") > 0.6 * spoken.duration_s
    with pytest.raises(EmoInputError, match="voice: found 'gmw/en-XX"):
        accents.synthesise("hello", "gmw/en-XX+f1")


@needs_flite
def test_unknown_voice() -> None:
    with pytest.raises(EmoInputError, match="voice"):
        synthesise("hello", "nobody")


@needs_flite
def test_alignment_finds_flites_own_times() -> None:
    pytest.importorskip("pocketsphinx")
    spoken = synthesise("the boys would not obey", "slt")
    found = align(spoken.samples, "the boys would not obey")
    assert covers(found)
    truth, guess = mouth_track(spoken, 25)["jawOpen"], mouth_track(found, 25)["jawOpen"]
    assert np.corrcoef(truth, guess)[0, 1] > 0.85


@pytest.mark.skipif(not LIBRIVOX_FOLDER.is_dir(), reason="pocketsphinx-testdata is not installed")
def test_real_speech_is_aligned() -> None:
    pytest.importorskip("pocketsphinx")
    clips = librivox_clips()
    assert len(clips) == 5
    for clip in clips:
        assert covers(clip)
        spoken = phone_frames(clip, 50) != "pau"
        loud = loudness_track(clip, 50)
        assert loud[spoken].mean() > loud[~spoken].mean() + 0.2


@needs_flite
def test_corpus_is_seeded_and_goes_on(tmp_path: Path) -> None:
    job = {"minutes": 0.2, "seed": 5, "processes": 1, "splits": ("train", "test_voice")}
    first = build_corpus(tmp_path / "a", **job)
    kept = (tmp_path / "a" / "test_voice-000.npz").stat().st_mtime_ns
    (tmp_path / "a" / "train-000.npz").rename(tmp_path / "a" / "gone")
    build_corpus(tmp_path / "a", **job)  # makes what is missing, nothing else
    assert (tmp_path / "a" / "train-000.npz").read_bytes() == (tmp_path / "a" / "gone").read_bytes()
    assert (tmp_path / "a" / "test_voice-000.npz").stat().st_mtime_ns == kept
    records = first.utterances("train")
    assert sum(r.duration_s for r in records) >= 0.2 * 60
    for record in records + first.utterances("test_voice"):
        assert len(record.tracks) == round(record.duration_s * 25)
        fresh = mouth_track(record.utterance, 25)
        assert np.allclose(record.mouth["jawOpen"], fresh["jawOpen"], atol=0.01)
    assert {r.voice for r in first.utterances("test_voice")} == {"awb"}
    assert "awb" not in {r.voice for r in records}
    with pytest.raises(EmoInputError, match="corpus"):
        build_corpus(tmp_path / "a", **{**job, "seed": 6})


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(EmoInputError, match="no shards"):
        VoiceCorpus(tmp_path)
