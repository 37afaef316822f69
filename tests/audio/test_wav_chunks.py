"""Wav files whose chunks are not as usual: big-endian, several or empty ones of sound, odd ones, tags at the end."""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import Samples, voice

from emo_core.audio import read_audio
from emo_core.errors import EmoInputError

RATE = 16_000
VOICE = voice(2.0, RATE)
PCM = (VOICE * 32767).astype("<i2").tobytes()
HALF = len(PCM) // 2
FORM = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
NOISE = np.random.default_rng(0).bytes(40_000)


def chunk(name: bytes, data: bytes, length: int | None = None, pad: bool = True) -> bytes:
    return name + struct.pack("<I", len(data) if length is None else length) + data + bytes(pad and len(data) % 2)


def wav(path: Path, *chunks: bytes) -> Path:
    body = b"".join(chunks)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body)
    return path


def is_voice(path: Path) -> bool:
    samples: Samples = read_audio(path).samples[0].numpy()
    return samples.shape == VOICE.shape and float(np.abs(samples - VOICE).max()) < 1e-4


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_big_endian(tmp_path: Path, subtype: str) -> None:
    whole = io.BytesIO()
    soundfile.write(whole, VOICE, RATE, format="WAV", subtype=subtype, endian="BIG")
    assert whole.getvalue()[:4] == b"RIFX"
    (tmp_path / "a.wav").write_bytes(whole.getvalue())
    sound = read_audio(tmp_path / "a.wav")
    assert sound.sample_rate == RATE and sound.samples.shape == (1, len(VOICE))
    assert np.abs(sound.samples[0].numpy() - VOICE).max() < (0.02 if subtype == "ULAW" else 1e-4)


def test_big_endian_and_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFX" + bytes(4) + b"WAVE" + NOISE)
    with pytest.raises(EmoInputError, match="RIFX"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("between", [b"", chunk(b"LIST", bytes(1000)), chunk(b"odd ", b"abc")])
def test_several_chunks_of_sound(tmp_path: Path, between: bytes) -> None:
    third = chunk(b"data", PCM[HALF : HALF + 600]) + chunk(b"data", PCM[HALF + 600 :])
    for second in (chunk(b"data", PCM[HALF:]), third):
        path = wav(tmp_path / "a.wav", chunk(b"fmt ", FORM), chunk(b"data", PCM[:HALF]), between, second)
        assert is_voice(path)
        path.write_bytes(path.read_bytes() * 2)
        assert read_audio(path).samples.shape == (1, 2 * len(VOICE))


@pytest.mark.parametrize("before", [b"", chunk(b"LIST", b"INFO" + bytes(96))])
def test_an_empty_chunk_of_sound_before_the_one_that_has_it(tmp_path: Path, before: bytes) -> None:
    empty = chunk(b"data", b"")
    assert is_voice(wav(tmp_path / "a.wav", chunk(b"fmt ", FORM), empty, before, chunk(b"data", PCM)))


def test_only_an_empty_chunk_of_sound_and_tags(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", chunk(b"fmt ", FORM), chunk(b"data", b""), chunk(b"LIST", b"INFO" + NOISE))
    with pytest.raises(EmoInputError, match=r"no samples|cannot be read"):
        read_audio(path)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x7FFFFFFF])
@pytest.mark.parametrize("name", [b"id3 ", b"LIST", b"bext", b"_PMX"])
def test_tags_behind_sound_of_unknown_length_are_not_heard(tmp_path: Path, name: bytes, length: int) -> None:
    for tags in (chunk(name, NOISE), chunk(name, NOISE[1:]), chunk(name, NOISE[1:], pad=False)):
        assert is_voice(wav(tmp_path / "a.wav", chunk(b"fmt ", FORM), chunk(b"data", PCM, length), tags))
        assert is_voice(
            wav(tmp_path / "a.wav", chunk(b"fmt ", FORM), chunk(b"data", PCM, length), chunk(b"fact", bytes(4)), tags)
        )


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, len(PCM)])
def test_nor_is_a_tag_as_of_mp3(tmp_path: Path, caplog: pytest.LogCaptureFixture, length: int) -> None:
    title = b"TIT2" + struct.pack(">IH", 30, 0) + b"\0" + b"a" * 29
    tag = chunk(b"id3 ", b"ID3\x03\0\0" + struct.pack(">I", len(title)) + title)
    assert is_voice(wav(tmp_path / "a.wav", chunk(b"fmt ", FORM), chunk(b"data", PCM, length), tag))
    assert is_voice(wav(tmp_path / "a.wav", chunk(b"fmt ", FORM), tag, chunk(b"data", PCM, length)))
    assert not caplog.records


def test_a_name_in_the_sound_is_not_its_end(tmp_path: Path) -> None:
    pcm = PCM[:HALF] + b"LIST" + struct.pack("<I", 1000) + PCM[HALF + 8 :]
    path = wav(tmp_path / "a.wav", chunk(b"fmt ", FORM), chunk(b"data", pcm, 0xFFFFFFFF))
    assert read_audio(path).samples.shape == (1, len(VOICE))


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("length", [1, 3, 27])
def test_an_odd_chunk_with_and_without_the_byte_behind_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, length: int, pad: bool
) -> None:
    odd = chunk(b"LIST", b"a" * length, pad=pad)
    with caplog.at_level(logging.WARNING):
        assert is_voice(wav(tmp_path / "a.wav", chunk(b"fmt ", FORM), odd, chunk(b"data", PCM)))
        assert is_voice(wav(tmp_path / "a.wav", odd, chunk(b"fmt ", FORM), odd, odd, chunk(b"data", PCM)))
    assert not caplog.records


@pytest.mark.parametrize(("taken", "used"), [(32, 24), (32, 16), (24, 20), (16, 12)])
def test_samples_that_take_more_bits_than_they_use(tmp_path: Path, taken: int, used: int) -> None:
    """As Windows records, 24 bits in 32: FFmpeg takes that for floating point."""
    whole = (VOICE * (2.0 ** (used - 1) - 1)).astype("<i4") << (32 - used)
    data = whole.view(np.uint8).reshape(-1, 4)[:, 4 - taken // 8 :].tobytes()
    size = taken // 8
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, RATE * size, size, taken, 22, used, 4) + guid
    path = wav(tmp_path / "a.wav", chunk(b"fmt ", form), chunk(b"data", data))
    samples = read_audio(path).samples[0].numpy()
    assert samples.shape == VOICE.shape and np.abs(samples - VOICE).max() < 2.0 ** (2 - used)


def test_the_oldest_form_which_does_not_tell_the_bits(tmp_path: Path) -> None:
    assert is_voice(wav(tmp_path / "a.wav", chunk(b"fmt ", FORM[:14]), chunk(b"data", PCM)))


@pytest.mark.parametrize("between", [b"", chunk(b"LIST", b"INFO" + bytes(96))])
def test_sound_before_what_it_is_made_of(tmp_path: Path, between: bytes) -> None:
    assert is_voice(wav(tmp_path / "a.wav", chunk(b"data", PCM), between, chunk(b"fmt ", FORM)))


def test_sound_without_what_it_is_made_of(tmp_path: Path) -> None:
    with pytest.raises(EmoInputError, match="cannot be read"):
        read_audio(wav(tmp_path / "a.wav", chunk(b"data", PCM), chunk(b"LIST", b"INFO" + bytes(96))))


@pytest.mark.parametrize("told", [0, 1, 2**40, 2**64 - 1])
@pytest.mark.parametrize("kind", [b"RF64", b"BW64"])
def test_rf64_of_a_recorder_that_died(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: bytes, told: int) -> None:
    """`told` bytes of sound say its chunk of sizes; 1 stands for the right number."""
    size = struct.pack("<QQQI", 0, len(PCM) if told == 1 else told, 0, 0)
    tags = chunk(b"LIST", b"INFO" + NOISE)
    body = chunk(b"ds64", size) + chunk(b"fmt ", FORM) + chunk(b"data", PCM, 0xFFFFFFFF) + tags
    (tmp_path / "a.wav").write_bytes(kind + b"\xff" * 4 + b"WAVE" + body)
    assert is_voice(tmp_path / "a.wav")
    assert ("it ends after" in caplog.text) == (told == 2**40)
