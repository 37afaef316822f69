"""Sounds whose header lies, whose middle is damaged or whose end is missing: the rest of it, where it was."""

from __future__ import annotations

import itertools
import logging
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from sounds import RATE, delay_s, encode, is_silent, voice, write

from emo_core.audio import read_audio

VOICE = voice(3.0)
GARBAGE = bytes([0x5A, 0xFF, 0x00, 0xA7])
FRAME_S = 0.027


def patched(path: Path, mark: bytes, offset: int, value: bytes) -> Path:
    data = bytearray(path.read_bytes())
    place = data.index(mark) + offset
    data[place : place + len(value)] = value
    path.write_bytes(data)
    return path


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


@pytest.mark.parametrize("size", [0, 1000, 0x7FFFFFFF, 0xFFFFFFFF, 10**8, 2 * len(VOICE) + 10])
@pytest.mark.parametrize(("suffix", "mark", "order"), [(".wav", b"data", "<"), (".aiff", b"SSND", ">")])
def test_a_length_that_is_wrong_is_not_believed(
    tmp_path: Path, suffix: str, mark: bytes, order: str, size: int
) -> None:
    path = patched(write(tmp_path / f"a{suffix}", VOICE), mark, 4, struct.pack(f"{order}I", size))
    if size != 1000:
        path = patched(path, b"RIFF" if order == "<" else b"FORM", 4, struct.pack(f"{order}I", size))
    sound = read_audio(path)
    assert sound.samples.shape == (1, len(VOICE))
    assert np.abs(sound.samples[0].numpy() - VOICE).max() < 1e-4


@pytest.mark.parametrize("size", [0, 1000, 0xFFFFFFFF, 10**8])
def test_nor_is_one_of_an_au(tmp_path: Path, size: int) -> None:
    path = patched(write(tmp_path / "a.au", VOICE), b".snd", 8, struct.pack(">I", size))
    assert read_audio(path).samples.shape == (1, len(VOICE))


@pytest.mark.parametrize("frames", [0, 1000, 0xFFFFFFFF])
def test_nor_is_a_number_of_frames(tmp_path: Path, frames: int) -> None:
    path = patched(write(tmp_path / "a.aiff", VOICE), b"COMM", 10, struct.pack(">I", frames))
    assert read_audio(path).samples.shape == (1, len(VOICE))


@pytest.mark.parametrize("total", [0, 1000, 2**36 - 1])
def test_nor_is_one_of_a_flac(tmp_path: Path, total: int) -> None:
    path = write(tmp_path / "a.flac", VOICE)
    data = bytearray(path.read_bytes())
    data[21] = data[21] & 0xF0 | total >> 32
    data[22:26] = (total & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(data)
    sound = read_audio(path)
    assert sound.samples.shape == (1, len(VOICE))
    assert np.abs(sound.samples[0].numpy() - VOICE).max() < 1e-4


def test_what_follows_the_sound_is_not_heard(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", VOICE)
    for behind in (
        b"LIST" + struct.pack("<I", 20000) + b"INFO" + GARBAGE * 4999,  # tags
        bytes(500_000),  # room that a recorder took in advance
        b"\x07" * 40,  # a few odd bytes
    ):
        (tmp_path / "b.wav").write_bytes(path.read_bytes() + behind)
        assert read_audio(tmp_path / "b.wav").samples.shape == (1, len(VOICE))


def test_two_wavs_of_unknown_length(tmp_path: Path) -> None:
    path = patched(write(tmp_path / "a.wav", VOICE), b"data", 4, b"\xff\xff\xff\xff")
    (tmp_path / "b.wav").write_bytes(path.read_bytes() * 2)
    sound = read_audio(tmp_path / "b.wav")
    assert sound.samples.shape == (1, 2 * len(VOICE))
    assert np.abs(sound.samples[0].numpy() - np.tile(VOICE, 2)).max() < 1e-4


KINDS = [
    ("a.m4a", "aac", None),
    ("a.aac", "aac", "adts"),
    ("a.mp3", "libmp3lame", None),
    ("a.ac3", "ac3", None),
    ("a.opus", "libopus", None),
    ("a.flac", "flac", None),
    ("a.ts", "aac", "mpegts"),
    ("a.oga", "flac", "ogg"),
]


@pytest.mark.parametrize("length", [100, 400, 2000])
@pytest.mark.parametrize(("name", "codec", "container"), KINDS, ids=[name for name, _, _ in KINDS])
def test_damage_in_the_middle_is_silent_and_what_follows_stays_where_it_was(
    tmp_path: Path, told: pytest.LogCaptureFixture, name: str, codec: str, container: str | None, length: int
) -> None:
    path = encode(tmp_path / name, codec, VOICE, container=container)
    whole = read_audio(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + length] = (GARBAGE * 500)[:length]
    path.write_bytes(data)
    told.clear()
    sound = read_audio(path)
    assert sound.duration_s == pytest.approx(whole.duration_s, abs=2 * FRAME_S)
    before, after = (delay_s(sound, VOICE, at_s=at_s, seconds=0.4) for at_s in (0.3, 2.5))
    assert after - before == pytest.approx(0, abs=FRAME_S)
    assert "damaged at" in told.text or length == 100  # a hundred bytes may be a note that is played wrong


@pytest.mark.parametrize("codec", ["vorbis", "libopus", "flac"])
def test_any_page_of_an_ogg_may_be_lost(tmp_path: Path, told: pytest.LogCaptureFixture, codec: str) -> None:
    """Seen: of the last page but one, what follows came a second early, without a word."""
    long = voice(9.5)
    path = tmp_path / "a.ogg"
    path = write(path, long) if codec == "vorbis" else encode(path, codec, long, container="ogg")
    content, whole = path.read_bytes(), read_audio(path)
    pages = [match.start() for match in re.finditer(b"OggS", content)]
    assert len(pages) >= 5
    for begins, ends in itertools.pairwise(pages[3:]):  # behind headers and what begins the sound
        middle = (begins + ends) // 2
        path.write_bytes(content[:middle] + GARBAGE * 5 + content[middle + 20 :])
        told.clear()
        sound = read_audio(path)
        assert sound.duration_s == pytest.approx(whole.duration_s, abs=2 * FRAME_S), (begins, ends)
        assert "damaged at" in told.text and "ends after" not in told.text
        assert delay_s(sound, long, at_s=0.3, seconds=0.4) == pytest.approx(0, abs=FRAME_S)
        assert delay_s(sound, long, at_s=9.05, seconds=0.4) == pytest.approx(0, abs=FRAME_S)


@pytest.mark.parametrize("codec", ["pcm_s16le", "libmp3lame", "ac3"])
def test_a_damaged_film_in_avi_stays_in_time(tmp_path: Path, told: pytest.LogCaptureFixture, codec: str) -> None:
    """An AVI has no clock, but an index. Seen: the rest up to 168 ms early, without a word."""
    long = voice(6.0)
    path = encode(tmp_path / "a.avi", codec, long, container="avi", pictures_s=6.0)
    data, whole = bytearray(path.read_bytes()), read_audio(path)
    assert not told.text
    end = data.rindex(b"idx1")
    for place in (int(end * 0.3), int(end * 0.6), end - 2000):
        data[place : place + 2000] = GARBAGE * 500
    path.write_bytes(data)
    sound = read_audio(path)
    assert sound.duration_s == pytest.approx(whole.duration_s, abs=2 * FRAME_S) and "damaged at" in told.text
    early, late = ([delay_s(each, long, at_s=at_s, seconds=0.4) for at_s in (0.3, 5.5)] for each in (whole, sound))
    assert late == pytest.approx(early, abs=0.012)


@pytest.mark.parametrize("off_by", [-4, 3, 40, 70_000])
def test_an_index_that_is_of_no_use_costs_nothing(tmp_path: Path, told: pytest.LogCaptureFixture, off_by: int) -> None:
    path = encode(tmp_path / "a.avi", "libmp3lame", VOICE, container="avi", pictures_s=3.0)
    whole, data = read_audio(path), bytearray(path.read_bytes())
    index = data.rindex(b"idx1") + 8
    for entry in range(index, len(data) - 15, 16):
        (place,) = struct.unpack_from("<I", data, entry + 8)
        struct.pack_into("<I", data, entry + 8, (place + off_by) % 2**32)
    path.write_bytes(data)
    sound = read_audio(path)
    assert sound.duration_s == whole.duration_s and "damaged" not in told.text


@pytest.mark.parametrize(("name", "codec", "container"), KINDS, ids=[name for name, _, _ in KINDS])
def test_an_end_that_is_missing(tmp_path: Path, name: str, codec: str, container: str | None) -> None:
    path = encode(tmp_path / name, codec, VOICE, container=container)
    if name == "a.m4a":  # the index first, or nothing of it can be read
        path = encode(tmp_path / "b.m4a", codec, VOICE, muxer={"movflags": "+faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    sound = read_audio(path)
    assert 0.9 < sound.duration_s < 2.1  # a page of Opus is a second
    assert delay_s(sound, VOICE, at_s=0.3, seconds=0.4) == pytest.approx(0, abs=FRAME_S)


def test_a_cut_end_is_told_where_the_file_says_that_there_is_more(
    tmp_path: Path, told: pytest.LogCaptureFixture
) -> None:
    for path in (
        write(tmp_path / "a.wav", VOICE),
        write(tmp_path / "a.flac", VOICE),
        encode(tmp_path / "a.m4a", "aac", VOICE, muxer={"movflags": "+faststart"}),
        encode(tmp_path / "a.mkv", "aac", VOICE),
        encode(tmp_path / "film.mkv", "aac", VOICE, pictures_s=3.0),
    ):
        told.clear()
        read_audio(path)
        assert not told.text, path
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        read_audio(path)
        assert "it ends after" in told.text, path


def test_a_packet_that_is_decoded_to_noise_does_not_make_the_rest_quiet(tmp_path: Path) -> None:
    """A damaged packet of AAC may become samples of any size."""
    path = encode(tmp_path / "a.ts", "aac", VOICE, container="mpegts")
    data = bytearray(path.read_bytes())
    for place in range(30_000, len(data), 3000):
        data[place : place + 60] = GARBAGE * 15
    path.write_bytes(data)
    sound = read_audio(path)
    assert 0.2 < float(sound.samples[:, : RATE // 2].abs().max()) < 0.7


def test_a_damaged_flac_is_silence_and_not_noise(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", VOICE)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20] = GARBAGE * 5
    path.write_bytes(data)
    sound = read_audio(path)
    wrong = np.flatnonzero(np.abs(sound.samples[0].numpy() - VOICE) > 1e-4)
    assert 0 < len(wrong) <= 2 * 4096 and is_silent(sound, wrong[0] / RATE + 0.001, wrong[-1] / RATE - 0.001)
