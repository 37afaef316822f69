"""Thousands of damaged sounds: each is read, or refused in a sentence; nothing else, and in little memory."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from fuzzing import fuzz
from sounds import encode, voice, write

from emo_core.audio import mono_16k, read_audio

RATE = 16_000
COUNT = 800


def seeds(folder: Path) -> list[Path]:
    """Good files of every kind, half a second each."""
    logging.disable(logging.CRITICAL)
    sound = voice(0.5, RATE)
    pair, film = np.stack([sound, sound[::-1]]), np.stack([sound * gain for gain in (0.1, 0.2, 1, 0.3, 0.1, 0.1)])
    made = [
        write(folder / "a.wav", sound, RATE),
        write(folder / "float.wav", pair, RATE, subtype="FLOAT"),
        write(folder / "film.wav", film, RATE, format="WAVEX"),
        write(folder / "a.flac", sound, RATE),
        write(folder / "a.ogg", sound, RATE),
        write(folder / "a.opus", sound, RATE, format="OGG", subtype="OPUS"),
        write(folder / "a.aiff", sound, RATE),
        write(folder / "a.au", sound, RATE),
        write(folder / "a.caf", sound, RATE),
        write(folder / "a.w64", sound, RATE),
        encode(folder / "a.mp3", "libmp3lame", sound, RATE),
        encode(folder / "a.m4a", "aac", pair, RATE, layout="stereo"),
        encode(folder / "alac.m4a", "alac", sound, RATE),
        encode(folder / "a.aac", "aac", sound, RATE, container="adts"),
        encode(folder / "a.webm", "libopus", sound, RATE),
        encode(folder / "a.mkv", "aac", sound, RATE, pictures_s=0.2),
        encode(folder / "a.mp4", "aac", sound, RATE, pictures_s=0.2, start_s=0.1),
        encode(folder / "fragments.mp4", "aac", sound, RATE, muxer={"movflags": "frag_keyframe+empty_moov"}),
        encode(folder / "a.ts", "aac", sound, RATE, container="mpegts"),
        encode(folder / "a.avi", "libmp3lame", sound, RATE, pictures_s=0.2),
        encode(folder / "a.flv", "aac", sound, RATE),
        encode(folder / "a.ac3", "ac3", sound, 32_000),
        encode(folder / "film.m4a", "aac", np.concatenate([film, pair]), RATE, layout="7.1"),
    ]
    for name in ("a.mp3", "a.ogg", "a.flac", "a.wav", "a.m4a", "a.webm"):
        data = (folder / name).read_bytes()
        made.append(folder / f"twice_{name}")
        made[-1].write_bytes(data * 2)
    return made


def read(path: Path) -> None:
    mono_16k(read_audio(path))


def test_damaged_sounds_are_read_or_refused() -> None:
    assert not fuzz(__file__, count=COUNT)
