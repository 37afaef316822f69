"""Sounds whose last bytes are missing, and what is behind a sound without being one: told, or passed over."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import numpy as np
import pytest
from sounds import RATE, delay_s, encode, voice, write

from emo_core.audio import read_audio

VOICE = voice(5.0)
FIRST, SECOND = voice(0.7, seed=1), voice(0.9, seed=2)
BARE = {"write_xing": "0", "id3v2_version": "0"}
ID3V1 = b"TAG" + bytes(125)
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 5032, 1, 0x80000000) + bytes(8) + b"a" * 5000
APE += b"APETAGEX" + struct.pack("<IIII", 2000, 5032, 1, 0x80000000) + bytes(8)
LYRICS = b"LYRICSBEGIN" + b"IND00002" + b"la " * 2000
LYRICS += b"%06d" % len(LYRICS) + b"LYRICS200"
GARBAGE = np.random.default_rng(0).bytes(9000)


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


@pytest.mark.parametrize("name", ["a.ogg", "a.opus", "flac.ogg", "a.w64", "a.caf", "a.avi", "a.rf64"])
def test_a_cut_end_is_told(tmp_path: Path, told: pytest.LogCaptureFixture, name: str) -> None:
    codec = {"a.opus": "libopus", "flac.ogg": "flac", "a.avi": "pcm_s16le"}.get(name)
    path = encode(tmp_path / name, codec, VOICE) if codec else write(tmp_path / name, VOICE)
    read_audio(path)
    assert not told.records
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    sound = read_audio(path)
    assert 1.0 < sound.duration_s < 3.6  # a page is up to a second
    assert delay_s(sound, VOICE, at_s=0.1, seconds=0.3) == pytest.approx(0, abs=0.01)
    assert "cut off" in told.text or "it ends after" in told.text


def test_an_ogg_that_marks_no_page_as_its_last_is_whole(tmp_path: Path, told: pytest.LogCaptureFixture) -> None:
    """As Android's recorders and live streams write it."""
    path = encode(tmp_path / "a.opus", "libopus", VOICE)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"OggS")])
    assert read_audio(path).duration_s > 0.9 and not told.records


@pytest.mark.parametrize("last", ["wav", "mp3"])
def test_what_is_behind_a_cut_one_is_heard(tmp_path: Path, told: pytest.LogCaptureFixture, last: str) -> None:
    cut = encode(tmp_path / "a.opus", "libopus", VOICE).read_bytes()[:-3000]
    behind = write(tmp_path / "b.wav", SECOND) if last == "wav" else encode(tmp_path / "b.mp3", "libmp3lame", SECOND)
    (tmp_path / "c.opus").write_bytes(cut + behind.read_bytes())
    sound = read_audio(tmp_path / "c.opus")
    assert "cut off" in told.text
    before = sound.duration_s - len(SECOND) / RATE
    assert 2.9 < before < 5
    both = np.concatenate([VOICE[: round(before * RATE)], SECOND])
    assert delay_s(sound, both, at_s=before + 0.4, seconds=0.4) == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, None])
@pytest.mark.parametrize(
    ("name", "codec", "more"),
    [
        ("b.ts", "aac", {"container": "mpegts"}),
        ("b.ac3", "ac3", {}),
        ("b.aac", "aac", {"container": "adts"}),
        ("b.mp3", "libmp3lame", {"muxer": BARE}),
    ],
)
def test_frames_in_the_samples_of_a_wav_are_no_noise(
    tmp_path: Path, told: pytest.LogCaptureFixture, length: int | None, name: str, codec: str, more: dict[str, str]
) -> None:
    """Its length is unknown, or that of all that follows (None)."""
    data = bytearray(write(tmp_path / "a.wav", FIRST).read_bytes())
    behind = encode(tmp_path / name, codec, SECOND, **more).read_bytes()  # type: ignore[arg-type]
    whole = len(data) - 44 + len(behind) if length is None else length
    data[40:44] = whole.to_bytes(4, "little")
    (tmp_path / "c.wav").write_bytes(data + behind)
    sound = read_audio(tmp_path / "c.wav")
    assert sound.duration_s == pytest.approx(1.6, abs=0.1) and not told.records
    assert np.abs(sound.samples[0, : len(FIRST)].numpy() - FIRST).max() < 1e-4
    both = np.concatenate([FIRST, SECOND])
    assert delay_s(sound, both, at_s=1.1, seconds=0.3) == pytest.approx(0.03, abs=0.05)


@pytest.mark.parametrize("tags", [ID3V1, APE, LYRICS, APE + ID3V1, LYRICS + ID3V1, APE + LYRICS + ID3V1])
def test_tags_between_and_behind_are_no_sound(tmp_path: Path, told: pytest.LogCaptureFixture, tags: bytes) -> None:
    mp3 = encode(tmp_path / "a.mp3", "libmp3lame", FIRST, muxer=BARE).read_bytes()
    wav = write(tmp_path / "b.wav", SECOND).read_bytes()
    adts = encode(tmp_path / "c.aac", "aac", FIRST, container="adts").read_bytes()
    for parts, seconds in (((mp3,), 0.7), ((mp3, mp3), 1.4), ((wav, mp3, wav), 2.5), ((mp3, adts, mp3), 2.1)):
        (tmp_path / "all.mp3").write_bytes(b"".join(part + tags for part in parts))
        sound = read_audio(tmp_path / "all.mp3")
        assert sound.duration_s == pytest.approx(seconds, abs=0.15), len(parts)
        assert not told.records


@pytest.mark.parametrize("name", ["a.w64", "a.caf", "a.ogg", "a.mp3", "a.rf64"])
def test_what_is_of_no_known_kind_is_told(tmp_path: Path, told: pytest.LogCaptureFixture, name: str) -> None:
    path = write(tmp_path / name, FIRST)
    path.write_bytes(path.read_bytes() + GARBAGE)
    assert read_audio(path).duration_s == pytest.approx(0.7, abs=0.05)
    assert "9000 bytes behind its sound" in told.text and len(told.records) == 1
