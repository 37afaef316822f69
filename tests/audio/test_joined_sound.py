"""Whole files one behind the other, as text-to-speech services and `cat` make them: all of it is heard."""

from __future__ import annotations

import logging
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from sounds import RATE, Samples, delay_s, encode, voice, write

from emo_core.audio import read_audio
from emo_core.audio.parts import sound_parts

FIRST, SECOND = voice(1.5, seed=1), voice(2.0, seed=2)
BOTH = np.concatenate([FIRST, SECOND])
FRAME_S = 0.027  # the longest of a codec at this rate


def joined(folder: Path, name: str, codec: str | None, **more: str) -> Path:
    files = []
    for number, samples in enumerate((FIRST, SECOND)):
        file = folder / f"{number}_{name}"
        files.append(encode(file, codec, samples, **more) if codec else write(file, samples, **more))
    target = folder / name
    target.write_bytes(b"".join(file.read_bytes() for file in files))
    return target


KINDS = [
    ("a.mp3", "libmp3lame", {}),
    ("a.opus", "libopus", {}),
    ("vorbis.ogg", None, {}),
    ("flac.ogg", "flac", {}),
    ("a.flac", None, {}),
    ("a.wav", None, {}),
    ("a.aiff", None, {}),
    ("a.au", None, {}),
    ("a.webm", "libopus", {}),
    ("a.mkv", "aac", {}),
    ("a.m4a", "aac", {}),
    ("a.caf", None, {"subtype": "PCM_16"}),
    ("a.w64", None, {"subtype": "PCM_16"}),
    ("a.rf64", None, {"format": "RF64", "subtype": "PCM_24"}),
    ("rifx.wav", None, {"endian": "BIG"}),
]


@pytest.mark.parametrize(("name", "codec", "more"), KINDS, ids=[name for name, _, _ in KINDS])
def test_both_are_heard_each_where_it_begins(
    tmp_path: Path, name: str, codec: str | None, more: dict[str, str]
) -> None:
    sound = read_audio(joined(tmp_path, name, codec, **more))
    assert sound.duration_s == pytest.approx(3.5, abs=2 * FRAME_S)
    assert sound.sample_rate == RATE
    assert delay_s(sound, BOTH, at_s=0.5) == pytest.approx(0, abs=0.002)
    assert delay_s(sound, BOTH, at_s=2.0) == pytest.approx(0, abs=FRAME_S)
    assert delay_s(sound, BOTH, at_s=2.9) == pytest.approx(0, abs=FRAME_S)


@pytest.mark.parametrize(
    ("name", "container"), [("a.aac", "adts"), ("a.ts", "mpegts"), ("a.ac3", None), ("a.flv", None)]
)
def test_streams_without_a_beginning_too(tmp_path: Path, name: str, container: str | None) -> None:
    codec = "ac3" if name.endswith("ac3") else "aac"
    sound = read_audio(joined(tmp_path, name, codec, container=container))  # type: ignore[arg-type]
    assert sound.duration_s == pytest.approx(3.5, abs=0.1)
    assert delay_s(sound, BOTH, at_s=0.5) == pytest.approx(0, abs=0.03)
    assert delay_s(sound, BOTH, at_s=2.9) == pytest.approx(0, abs=0.08)  # their encoders' delay, twice


def test_ten_chunks_of_a_service(tmp_path: Path) -> None:
    chunk = write(tmp_path / "chunk.opus", FIRST, format="OGG", subtype="OPUS").read_bytes()
    (tmp_path / "all.opus").write_bytes(chunk * 10)
    sound = read_audio(tmp_path / "all.opus")
    assert sound.duration_s == pytest.approx(15.0, abs=0.1)
    assert delay_s(sound, np.tile(FIRST, 10), at_s=13.8) == pytest.approx(0, abs=0.01)


def test_a_second_part_of_another_rate_and_without_a_header(tmp_path: Path) -> None:
    encode(tmp_path / "1.mp3", "libmp3lame", FIRST)
    slow = voice(2.0, 24_000, seed=3)
    encode(tmp_path / "2.mp3", "libmp3lame", slow, 24_000, muxer={"write_xing": "0", "id3v2_version": "0"})
    (tmp_path / "a.mp3").write_bytes((tmp_path / "1.mp3").read_bytes() + (tmp_path / "2.mp3").read_bytes())
    sound = read_audio(tmp_path / "a.mp3")
    assert sound.sample_rate == RATE and sound.duration_s == pytest.approx(3.5, abs=0.1)
    late = np.concatenate([np.zeros(36_000, np.float32), slow])
    assert delay_s(sound, late, 24_000, at_s=2.5) == pytest.approx(0.05, abs=0.05)  # its own delay, which nothing tells


@pytest.mark.parametrize("first", ["mono", "stereo"])
def test_a_layout_that_changes_midway(tmp_path: Path, first: str) -> None:
    mono = encode(tmp_path / "m.aac", "aac", FIRST, container="adts").read_bytes()
    pair = np.stack([SECOND, 0.5 * SECOND])
    stereo = encode(tmp_path / "s.aac", "aac", pair, layout="stereo", container="adts").read_bytes()
    (tmp_path / "a.aac").write_bytes(mono + stereo if first == "mono" else stereo + mono)
    sound = read_audio(tmp_path / "a.aac")
    assert sound.samples.shape[0] == 2 and sound.duration_s == pytest.approx(3.5, abs=0.1)
    heard = BOTH if first == "mono" else np.concatenate([SECOND, FIRST])
    assert delay_s(sound, heard, at_s=0.4) == pytest.approx(0.02, abs=0.03)
    assert delay_s(sound, heard, at_s=2.8) == pytest.approx(0.04, abs=0.05)


def test_rates_that_differ_become_the_highest(tmp_path: Path) -> None:
    slow = voice(1.5, 8_000, seed=1)
    data = write(tmp_path / "1.wav", slow, 8_000).read_bytes() + write(tmp_path / "2.wav", SECOND).read_bytes()
    (tmp_path / "a.wav").write_bytes(data)
    sound = read_audio(tmp_path / "a.wav")
    assert sound.sample_rate == RATE and sound.samples.shape == (1, round(3.5 * RATE))
    assert delay_s(sound, slow, 8_000, at_s=0.5) == pytest.approx(0, abs=0.002)
    assert delay_s(sound, BOTH, at_s=2.5) == pytest.approx(0, abs=0.001)


def test_a_part_that_cannot_be_read_is_told_and_the_others_are_heard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = write(tmp_path / "1.ogg", FIRST).read_bytes()
    (tmp_path / "a.ogg").write_bytes(one + one[:200] + one)
    sound = read_audio(tmp_path / "a.ogg")
    assert sound.duration_s == pytest.approx(3.0, abs=0.05) and "part 2 of 3" in caplog.text


def test_reading_stops_where_enough_is_read(tmp_path: Path) -> None:
    sound = read_audio(joined(tmp_path, "a.mp3", "libmp3lame"), max_seconds=2.0)
    assert sound.samples.shape == (1, 2 * RATE)
    assert delay_s(sound, BOTH, at_s=1.55, seconds=0.4) == pytest.approx(0, abs=FRAME_S)


@pytest.mark.parametrize("frames", [5, 20, 10**6])
def test_a_number_of_frames_that_is_wrong(tmp_path: Path, frames: int) -> None:
    data = bytearray(encode(tmp_path / "a.mp3", "libmp3lame", SECOND).read_bytes())
    mark = max(data.find(b"Xing"), data.find(b"Info"))
    assert data[mark + 7] & 1
    data[mark + 8 : mark + 12] = frames.to_bytes(4, "big")
    (tmp_path / "a.mp3").write_bytes(data)
    sound = read_audio(tmp_path / "a.mp3")
    assert sound.duration_s == pytest.approx(2.0, abs=0.04)
    assert delay_s(sound, SECOND, at_s=0.2) == delay_s(sound, SECOND, at_s=1.4) == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("name", ["a.mp3", "a.au"])
def test_an_end_that_is_cut_off_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    path = tmp_path / name
    encode(path, "libmp3lame", BOTH) if name == "a.mp3" else write(path, BOTH)
    read_audio(path)
    assert not caplog.records
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert read_audio(path).duration_s == pytest.approx(1.75, abs=0.1)
    assert "it ends after" in caplog.text


# What these end with is known.
ENDED = ["a.wav", "a.aiff", "a.flac", "a.caf", "a.w64", "a.rf64", "rifx.wav", "a.mp3", "a.au"]
ENDED += ["a.ogg", "a.m4a", "a.webm"]


@pytest.mark.parametrize("last", ENDED)
@pytest.mark.parametrize("first", ENDED)
def test_of_two_kinds(tmp_path: Path, caplog: pytest.LogCaptureFixture, first: str, last: str) -> None:
    def made(name: str, samples: Samples) -> bytes:
        path = tmp_path / name
        if name.endswith(("mp3", "m4a", "webm")):
            codec = {"p3": "libmp3lame", "4a": "aac", "bm": "libopus"}[name[-2:]]
            return encode(path, codec, samples).read_bytes()
        more = {"a.rf64": {"format": "RF64"}, "rifx.wav": {"endian": "BIG"}}.get(name, {})
        return write(path, samples, **more).read_bytes()

    path = tmp_path / ("all." + first[-3:])
    path.write_bytes(made(first, FIRST) + made(last, SECOND))
    with caplog.at_level(logging.WARNING):
        sound = read_audio(path)
    assert sound.duration_s == pytest.approx(3.5, abs=3 * FRAME_S)
    assert delay_s(sound, BOTH, at_s=0.5) == pytest.approx(0, abs=0.002)
    assert delay_s(sound, BOTH, at_s=2.9) == pytest.approx(0, abs=2 * FRAME_S)
    assert not caplog.records


@pytest.mark.parametrize("bare", ["mp3", "aac"])
@pytest.mark.parametrize("first", ["a.wav", "a.aiff", "a.au", "a.ogg", "a.m4a", "a.webm"])
def test_frames_without_a_file_around_them_behind_one(tmp_path: Path, first: str, bare: str) -> None:
    """As speech services send them: heard, and not as noise."""
    if first[-3:] in ("m4a", "ebm"):
        encode(tmp_path / first, "aac" if first.endswith("m4a") else "libopus", FIRST)
    else:
        write(tmp_path / first, FIRST)
    if bare == "mp3":
        encode(tmp_path / "b.mp3", "libmp3lame", SECOND, muxer={"write_xing": "0", "id3v2_version": "0"})
    else:
        encode(tmp_path / "b.aac", "aac", SECOND, container="adts")
    path = tmp_path / f"all{first[1:]}"
    path.write_bytes((tmp_path / first).read_bytes() + (tmp_path / f"b.{bare}").read_bytes())
    sound = read_audio(path)
    assert sound.duration_s == pytest.approx(3.5, abs=0.1)
    assert delay_s(sound, BOTH, at_s=0.5) == pytest.approx(0, abs=0.002)
    assert delay_s(sound, BOTH, at_s=2.5) == pytest.approx(0.04, abs=0.04)  # their encoders' delay
    assert delay_s(sound, BOTH, at_s=2.9) == pytest.approx(0.04, abs=0.04)


def test_a_tag_before_a_wav_is_no_sound_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write(tmp_path / "a.wav", FIRST).read_bytes()
    (tmp_path / "b.wav").write_bytes(b"ID3\x03\0\0\0\0\0\x14" + bytes(20) + data)
    assert read_audio(tmp_path / "b.wav").samples.shape == (1, len(FIRST)) and not caplog.records


@pytest.mark.parametrize("name", ["a.mp3", "a.flac"])
def test_a_cover_that_looks_like_a_file_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    cover = b"\0\0\0\x1cftypavif" + bytes(3000)
    if name == "a.mp3":
        data = encode(tmp_path / name, "libmp3lame", SECOND, muxer={"id3v2_version": "0"}).read_bytes()
        body = b"\0image/avif\0\3\0" + cover
        picture = b"APIC" + struct.pack(">IH", len(body), 0) + body
        size = bytes(len(picture) >> shift & 127 for shift in (21, 14, 7, 0))
        data = b"ID3\x03\0\0" + size + picture + data
    else:
        data = write(tmp_path / name, SECOND).read_bytes()
        body = struct.pack(">II", 3, 10) + b"image/avif" + bytes(20) + struct.pack(">I", len(cover)) + cover
        assert data[4] == 0  # the block of the stream's own numbers, not the last
        data = data[:42] + b"\x06" + len(body).to_bytes(3, "big") + body + data[42:]
    (tmp_path / name).write_bytes(data)
    sound = read_audio(tmp_path / name)
    assert sound.duration_s == pytest.approx(2.0, abs=2 * FRAME_S) and not caplog.records
    assert delay_s(sound, SECOND, at_s=1.4) == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_of_two_kinds_the_first_of_unknown_length(tmp_path: Path, length: int) -> None:
    data = bytearray(write(tmp_path / "a.wav", FIRST).read_bytes())
    data[40:44] = length.to_bytes(4, "little")
    (tmp_path / "b.wav").write_bytes(data + write(tmp_path / "a.flac", SECOND).read_bytes())
    sound = read_audio(tmp_path / "b.wav")
    assert sound.samples.shape == (1, len(BOTH)) and np.abs(sound.samples[0].numpy() - BOTH).max() < 1e-4


def test_no_file_takes_long_to_look_through(tmp_path: Path) -> None:
    """Made so that every place looks like a beginning."""
    form = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + write(tmp_path / "a.wav", FIRST).read_bytes()[20:36]
    for data in (
        b"caff\0\1\0\0desc" * 50_000,
        (form + b"data\xff\xff\xff\xff" + bytes(100)) * 5000,
        form + b"data\xff\xff\xff\xff" + b"LIST\1\0\0\0\0\0" * 30_000 + b"1",
        form + b"data\0\0\0\0" * 30_000,
        form + b"data\2\0\0\0\0\0" * 30_000,
    ):
        (tmp_path / "b.wav").write_bytes(data)
        began = time.process_time()
        assert len(sound_parts(tmp_path / "b.wav")) <= 2000
        assert time.process_time() - began < 20


def test_a_number_of_frames_of_all_files_together_is_no_cut_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = bytearray(joined(tmp_path, "a.mp3", "libmp3lame").read_bytes())
    mark = max(data.find(b"Xing"), data.find(b"Info"))
    data[mark + 8 : mark + 12] = (150).to_bytes(4, "big")
    (tmp_path / "a.mp3").write_bytes(data)
    assert read_audio(tmp_path / "a.mp3").duration_s == pytest.approx(3.5, abs=0.1) and not caplog.records
