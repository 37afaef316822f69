"""Sound lies where the file's clock puts it: gaps, late starts, pictures that begin earlier, clocks that are wrong."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from sounds import RATE, delay_s, encode, is_silent, voice

from emo_core.audio import read_audio
from emo_core.audio.track import as_players_choose

VOICE = voice(4.0)
LATE = np.concatenate([np.zeros(RATE, np.float32), VOICE])
FRAME_S = 0.024


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


PAUSING = [
    ("a.mkv", "aac", None),
    ("a.mkv", "libopus", None),
    ("a.mkv", "libmp3lame", None),
    ("a.webm", "libopus", None),
    ("a.mp4", "aac", None),
    ("a.mov", "alac", None),
    ("a.ts", "aac", "mpegts"),
    ("a.flv", "aac", None),
    ("a.opus", "libopus", None),
]


@pytest.mark.parametrize(("name", "codec", "container"), PAUSING, ids=[f"{name}-{codec}" for name, codec, _ in PAUSING])
def test_a_second_without_packets_is_a_second_of_silence(
    tmp_path: Path, told: pytest.LogCaptureFixture, name: str, codec: str, container: str | None
) -> None:
    path = encode(tmp_path / name, codec, VOICE, container=container, skip=lambda at_s: 1.0 <= at_s < 2.0)
    sound = read_audio(path)
    assert sound.duration_s == pytest.approx(4.0, abs=0.09)  # ALAC's frames are that long
    assert is_silent(sound, 1.15, 1.9)
    before, after = (delay_s(sound, VOICE, at_s=at_s) for at_s in (0.3, 3.0))
    assert after - before == pytest.approx(0, abs=0.002)
    assert "silence there" in told.text


FILMS = [("a.mp4", "aac", None), ("a.mkv", "aac", None), ("a.mov", "aac", None), ("a.ts", "aac", "mpegts")]


@pytest.mark.parametrize(("name", "codec", "container"), FILMS, ids=[name for name, _, _ in FILMS])
@pytest.mark.parametrize("late_s", [0.0, 1.0])
def test_sound_keeps_its_place_beside_the_pictures(
    tmp_path: Path, name: str, codec: str, container: str | None, late_s: float
) -> None:
    path = encode(tmp_path / name, codec, VOICE, container=container, pictures_s=5, start_s=late_s)
    sound = read_audio(path)
    original = LATE if late_s else VOICE
    assert is_silent(sound, 0, 0.9 * late_s)
    assert delay_s(sound, original, at_s=1.5) == pytest.approx(0, abs=0.001)
    assert sound.duration_s == pytest.approx(4 + late_s, abs=FRAME_S)


def test_sound_from_before_the_first_picture_is_not_heard(tmp_path: Path) -> None:
    import av

    film = encode(tmp_path / "film.mkv", "aac", VOICE, pictures_s=2.0)
    with av.open(str(film)) as source, av.open(str(tmp_path / "a.mkv"), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                packet.pts = packet.dts = packet.pts + 1000  # ms
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    sound = read_audio(tmp_path / "a.mkv")
    assert sound.duration_s == pytest.approx(3.0, abs=FRAME_S)
    assert delay_s(sound, VOICE[RATE:], at_s=1.0) == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "aac"), ("a.webm", "libopus"), ("a.m4a", "aac")])
def test_a_late_start_without_pictures(tmp_path: Path, name: str, codec: str) -> None:
    sound = read_audio(encode(tmp_path / name, codec, VOICE, skip=lambda at_s: at_s < 1.0))
    assert is_silent(sound, 0, 0.95)
    assert delay_s(sound, VOICE, at_s=2.0) == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize(("name", "container"), [("a.mkv", None), ("a.mp4", None), ("a.flv", None), ("a.ts", "mpegts")])
def test_a_clock_without_sense_makes_no_hours_of_silence(
    tmp_path: Path, told: pytest.LogCaptureFixture, name: str, container: str | None
) -> None:
    sound = read_audio(encode(tmp_path / name, "aac", VOICE, container=container, start_s=20_000.0))
    assert sound.duration_s == pytest.approx(4.0, abs=2 * FRAME_S)
    assert delay_s(sound, VOICE, at_s=2.0) == pytest.approx(0, abs=FRAME_S)
    if name in ("a.mkv", "a.mp4"):
        assert "not believed" in told.text


def test_a_clock_that_jumps_midway_loses_nothing(tmp_path: Path) -> None:
    """That it goes back is what joined transport streams do (test_joined_sound)."""
    import av

    whole = encode(tmp_path / "whole.ts", "aac", VOICE, container="mpegts")
    with av.open(str(whole)) as source, av.open(str(tmp_path / "a.ts"), "w", format="mpegts") as out:
        track = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux():
            if packet.dts is None:
                continue
            packet.stream = track
            if packet.pts * packet.time_base >= 2:
                packet.pts = packet.dts = packet.pts + round(5000 / packet.time_base)
            out.mux(packet)
    sound = read_audio(tmp_path / "a.ts")
    assert sound.duration_s == pytest.approx(4.0, abs=2 * FRAME_S)
    assert delay_s(sound, VOICE, at_s=3.0) == pytest.approx(0, abs=FRAME_S)


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "pcm_s16le"])
def test_times_that_are_rounded_or_tremble_make_no_holes(
    tmp_path: Path, told: pytest.LogCaptureFixture, codec: str, rate: int
) -> None:
    """Matroska's clock has milliseconds; recorders write when a packet came, not when it was heard."""
    import av

    original = voice(3.0, rate)
    whole = encode(tmp_path / "whole.mkv", codec, original, rate)
    chance = np.random.default_rng(0)
    with av.open(str(whole)) as source, av.open(str(tmp_path / "a.mkv"), "w") as out:
        track = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux():
            if packet.dts is None:
                continue
            packet.stream = track
            packet.pts = packet.dts = packet.pts + (int(chance.integers(-6, 7)) if packet.pts > 100 else 0)
            out.mux(packet)
    sound = read_audio(tmp_path / "a.mkv")
    assert sound.duration_s == pytest.approx(read_audio(whole).duration_s, abs=0.001)
    assert "silence" not in told.text


@pytest.mark.parametrize(("suffix", "rate"), [("ogg", 8_000), ("ogg", 16_000), ("ogg", 44_100), ("opus", 48_000)])
def test_whole_files_have_no_holes(tmp_path: Path, told: pytest.LogCaptureFixture, suffix: str, rate: int) -> None:
    from sounds import write

    original = voice(4.0, rate)
    original[rate : 2 * rate] = 0
    subtype = "OPUS" if suffix == "opus" else "VORBIS"
    sound = read_audio(write(tmp_path / f"a.{suffix}", original, rate, format="OGG", subtype=subtype))
    assert sound.samples.shape == (1, len(original)) and not told.text
    assert delay_s(sound, original, rate, at_s=3.0) == pytest.approx(0, abs=0.001)


def test_the_first_track_may_be_one_that_ffmpeg_does_not_know(tmp_path: Path, told: pytest.LogCaptureFixture) -> None:
    """As of an iPhone: spatial sound beside AAC."""
    import av

    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as out:
        tracks = [out.add_stream("aac", rate=RATE, layout="mono") for _ in range(2)]
        for first in range(0, len(VOICE), 1024):
            for track in tracks:
                frame = av.AudioFrame.from_ndarray(VOICE[None, first : first + 1024], format="fltp", layout="mono")
                frame.sample_rate, frame.pts = RATE, first
                out.mux(track.encode(frame))
        for track in tracks:
            out.mux(track.encode(None))
    path.write_bytes(path.read_bytes().replace(b"mp4a", b"apac", 1).replace(b"esds", b"dapa", 1))
    sound = read_audio(path)
    assert delay_s(sound, VOICE, at_s=1.0) == pytest.approx(0, abs=0.001)
    assert "number 2 is heard" in told.text
    path.write_bytes(path.read_bytes().replace(b"mp4a", b"apac").replace(b"esds", b"dapa"))
    with pytest.raises(ValueError, match=r"a sound track in a\.mov of a kind that FFmpeg does not know"):
        read_audio(path)


@pytest.mark.parametrize("name", ["a.mka", "a.m4a", "a.mp4"])
@pytest.mark.parametrize(("marks", "heard"), [(("comment", "default"), 2), (("default", "dub"), 1)])
def test_of_several_tracks_the_default_is_heard(
    tmp_path: Path, told: pytest.LogCaptureFixture, name: str, marks: tuple[str, str], heard: int
) -> None:
    """As players have it; and the other is told of, which may be the one that is not silent."""
    import av
    from av.stream import Disposition

    with av.open(str(tmp_path / name), "w") as out:
        tracks = [out.add_stream("aac", rate=RATE, layout="mono") for _ in marks]
        for track, mark in zip(tracks, marks, strict=True):
            track.disposition = Disposition[mark]
        for first in range(0, len(VOICE), 1024):
            for number, track in enumerate(tracks, 1):
                samples = VOICE[None, first : first + 1024] * (number == heard)
                frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = RATE, first
                out.mux(track.encode(frame))
        for track in tracks:
            out.mux(track.encode(None))
    assert delay_s(read_audio(tmp_path / name), VOICE, at_s=1.0) == pytest.approx(0, abs=0.001)
    assert f"of its 2 sound tracks number {heard} is heard" in told.text


def test_a_track_for_the_deaf_or_the_blind_is_not_the_first_choice() -> None:
    from types import SimpleNamespace

    from av.stream import Disposition

    def chosen(*marks: int) -> list[int]:
        tracks = [SimpleNamespace(index=index, disposition=Disposition(mark)) for index, mark in enumerate(marks)]
        return [track.index for track in as_players_choose(tracks)]

    default, blind = int(Disposition.default), int(Disposition.visual_impaired)
    assert chosen(0, 0, 0) == chosen(default, default, 0) == [0, 1, 2]
    assert chosen(blind, 0, 0) == [1, 2, 0] and chosen(blind, 0, default) == [2, 1, 0]


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.mp4"])
def test_sound_that_begins_late_does_not_end_early(tmp_path: Path, told: pytest.LogCaptureFixture, name: str) -> None:
    path = encode(tmp_path / name, "aac" if name != "a.webm" else "libopus", VOICE, start_s=1.0)
    assert read_audio(path).duration_s == pytest.approx(5.0, abs=2 * FRAME_S)
    assert "it ends" not in told.text
