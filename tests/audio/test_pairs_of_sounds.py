"""Any sound behind any other, as `cat` joins them: all of it is heard, or a warning says that something is not."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sounds import Samples, delay_s, encode, voice, write

from emo_core.audio import read_audio

FIRST, SECOND = voice(0.7, seed=1), voice(0.9, seed=2)
BOTH = np.concatenate([FIRST, SECOND])
BARE = {"write_xing": "0", "id3v2_version": "0"}
# What makes them: a codec, and its settings; None is libsndfile.
KINDS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "a.wav": (None, {}),
    "rifx.wav": (None, {"endian": "BIG"}),
    "mp3.wav": ("libmp3lame", {"container": "wav"}),
    "a.rf64": (None, {"format": "RF64"}),
    "a.w64": (None, {}),
    "a.aiff": (None, {}),
    "a.au": (None, {}),
    "a.caf": (None, {}),
    "alac.caf": ("alac", {}),
    "a.flac": (None, {}),
    "a.ogg": (None, {}),
    "a.opus": ("libopus", {}),
    "a.mp3": ("libmp3lame", {}),
    "bare.mp3": ("libmp3lame", {"muxer": BARE}),
    "a.mp2": ("mp2", {}),
    "a.aac": ("aac", {"container": "adts"}),
    "a.ac3": ("ac3", {}),
    "a.eac3": ("eac3", {}),
    "a.ts": ("aac", {"container": "mpegts"}),
    "a.m4a": ("aac", {}),
    "a.mov": ("pcm_s16le", {}),
    "fragments.mp4": ("aac", {"muxer": {"movflags": "frag_keyframe+empty_moov"}}),
    "a.webm": ("libopus", {}),
    "live.mkv": ("flac", {"container": "matroska", "muxer": {"live": "1"}}),
    "a.avi": ("libmp3lame", {}),
    "a.flv": ("aac", {}),
    "a.wma": ("wmav2", {"options": {"b": "64000"}}),
    "a.wv": ("wavpack", {}),
    "a.tta": ("tta", {}),
    "a.mpg": ("mp2", {"container": "mpeg"}),
    "a.nut": ("aac", {}),
    "a.voc": (None, {"subtype": "PCM_16"}),
    "a.svx": (None, {"format": "SVX"}),
}


def made(folder: Path, name: str, samples: Samples) -> bytes:
    codec, more = KINDS[name]
    path = folder / name
    return (encode(path, codec, samples, **more) if codec else write(path, samples, **more)).read_bytes()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes]]:
    """Files of the first voice and of the second one, by kind."""
    folder = tmp_path_factory.mktemp("kinds")
    return {name: (made(folder, name, FIRST), made(folder, name, SECOND)) for name in KINDS}


@pytest.mark.parametrize("first", KINDS)
def test_what_is_behind_one_is_heard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pairs: dict[str, tuple[bytes, bytes]], first: str
) -> None:
    caplog.set_level(logging.WARNING)
    path = tmp_path / f"all{Path(first).suffix}"
    wrong = []
    for last in KINDS:
        path.write_bytes(pairs[first][0] + pairs[last][1])
        caplog.clear()
        sound = read_audio(path)
        try:
            assert sound.duration_s == pytest.approx(1.6, abs=0.15)  # encoders' delays, at either end of both
            assert delay_s(sound, FIRST, at_s=0.25, seconds=0.3) == pytest.approx(0, abs=0.07)
            assert delay_s(sound, BOTH, at_s=1.1, seconds=0.3) == pytest.approx(0.04, abs=0.1)
            assert not caplog.records
        except AssertionError as error:
            wrong.append(f"{last}: {sound.duration_s:.2f} s, {str(error).splitlines()[0]}; {caplog.messages[:2]}")
    assert not wrong, "\n".join(wrong)
