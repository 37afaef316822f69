"""Reading sound: formats, rates, channels, and the message every bad file gets."""

import logging
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from emo_core.audio import check_waveform, mono_16k, read_audio
from emo_core.audio.file import usable
from emo_core.data import Waveform
from emo_core.errors import EmoInputError

SECONDS = 1.5


def tone(rate: int, channels: int = 1, seconds: float = SECONDS) -> np.ndarray:
    """(t, channels): 440 Hz at another level in each channel."""
    t = np.arange(round(seconds * rate)) / rate
    return np.stack([np.sin(2 * np.pi * 440 * t) * 0.5 / (i + 1) for i in range(channels)], axis=1).astype(np.float32)


def encode_av(path: Path, codec: str, rate: int, video: bool = False) -> None:
    samples = tone(rate)[:, 0]
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=25) if video else None
        sound = container.add_stream(codec, rate=rate, layout="mono")
        if picture is not None:
            picture.width = picture.height = 64
            for _ in range(round(SECONDS * 25)):
                frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        for start in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def dominant_hz(samples: torch.Tensor, rate: int) -> float:
    spectrum = torch.fft.rfft(samples).abs()
    return float(spectrum.argmax()) * rate / samples.shape[-1]


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2)])
def test_soundfile_formats(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(rate, channels), rate)
    sound = read_audio(path)
    assert sound.samples.shape[0] == channels
    assert sound.samples.dtype == torch.float32
    assert sound.sample_rate == rate
    assert sound.duration_s == pytest.approx(SECONDS, abs=0.1)
    assert dominant_hz(mono_16k(sound), 16000) == pytest.approx(440, abs=3)


@pytest.mark.parametrize(("name", "codec", "video"), [("a.m4a", "aac", False), ("a.mp4", "aac", True)])
def test_through_pyav(tmp_path: Path, name: str, codec: str, video: bool) -> None:
    encode_av(tmp_path / name, codec, 44100, video)
    sound = read_audio(tmp_path / name)
    assert sound.sample_rate == 44100
    assert sound.duration_s == pytest.approx(SECONDS, abs=0.1)
    assert dominant_hz(sound.samples[0], 44100) == pytest.approx(440, abs=3)


@pytest.mark.parametrize(("rate", "channels", "expected"), [(192_000, 1, 0.5), (96_000, 8, 0.855), (22_050, 3, 0.697)])
def test_wide_range_of_rates_and_channels(tmp_path: Path, rate: int, channels: int, expected: float) -> None:
    """Many channels as film sound: 1/sqrt(2) of the sides, all of the centre, half of what comes from behind."""
    soundfile.write(tmp_path / "a.wav", tone(rate, channels), rate, subtype="FLOAT")
    mono = mono_16k(read_audio(tmp_path / "a.wav"))
    assert mono.shape == (round(SECONDS * 16000),)
    assert float(mono[2000:-2000].abs().max()) == pytest.approx(expected, rel=0.02)


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    soundfile.write(folder / "slow.wav", tone(4000), 4000)
    soundfile.write(folder / "many.wav", tone(16000, 9), 16000)
    soundfile.write(folder / "none.wav", np.zeros((0, 1), np.float32), 16000)
    broken = tone(16000)
    broken[100] = np.nan
    soundfile.write(folder / "nan.wav", broken, 16000, subtype="FLOAT")
    (folder / "zero.wav").write_bytes(b"")
    (folder / "page.mp3").write_text("<html>not found</html>")
    with av.open(str(folder / "mute.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    names = {
        "slow.wav": "4000 Hz",
        "many.wav": "9 channels",
        "none.wav": "no samples",
        "nan.wav": "NaN",
        "zero.wav": "empty file",
        "page.mp3": "cannot be read",
        "mute.mp4": "no sound track",
        "absent.wav": "no file",
    }
    return {name: (folder / name, message) for name, message in names.items()}


def test_bad_files_say_what_is_wrong(tmp_path: Path) -> None:
    for path, message in bad_files(tmp_path).values():
        with pytest.raises(EmoInputError, match=message) as caught:
            read_audio(path)
        assert caught.value.name == "audio"


def test_silence_is_a_warning_not_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(tmp_path / "quiet.wav", np.zeros(16000, np.float32), 16000)
    with caplog.at_level(logging.WARNING):
        sound = read_audio(tmp_path / "quiet.wav")
    assert sound.duration_s == 1.0
    assert "silent" in caplog.text


def test_silence_is_told_once_in_words_and_only_of_what_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loud = tone(16000)
    quiet_first = np.concatenate([np.zeros_like(loud), loud])
    for samples, seconds, words in (
        (np.zeros_like(loud), None, "it is all zeros"),
        (loud * 1e-4, None, "its loudest sample is 86 dB below full scale"),
        (quiet_first, 1.0, "it is all zeros"),
        (quiet_first, None, None),
    ):
        soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            sound = read_audio(tmp_path / "a.wav", max_seconds=seconds)
            check_waveform(sound, 25)
        told = [record.getMessage() for record in caplog.records]
        assert told == ([] if words is None else [f"audio: the sound is silent ({words}); the mouth will stay shut"])


def test_silence_of_a_part_is_told_where_the_part_is_used(caplog: pytest.LogCaptureFixture) -> None:
    whole = usable(Waveform(torch.zeros(1, 32000), 16000))
    assert not caplog.records
    check_waveform(Waveform(whole.samples[:, :16000], 16000), 25)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), -float("inf"), "1", b"1", "", [1], True, 1j])
def test_seconds_that_are_no_number_above_0(tmp_path: Path, seconds: object) -> None:
    soundfile.write(tmp_path / "a.wav", tone(16000), 16000)
    with pytest.raises(EmoInputError, match="above 0") as caught:
        read_audio(tmp_path / "a.wav", max_seconds=seconds)  # type: ignore[arg-type]
    assert caught.value.name == "max_seconds"


@pytest.mark.parametrize(("seconds", "length"), [(None, 24000), (float("inf"), 24000), (1.7e308, 24000), (1, 16000)])
def test_seconds_that_are_one(tmp_path: Path, seconds: float | None, length: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(16000), 16000)
    assert read_audio(tmp_path / "a.wav", max_seconds=seconds).samples.shape == (1, length)
    assert read_audio(tmp_path / "a.wav", max_seconds=seconds and np.float64(seconds)).samples.shape == (1, length)


def test_sound_shorter_than_a_frame() -> None:
    sound = Waveform(torch.ones(1, 500) * 0.1, 16000)  # 31 ms
    check_waveform(sound, fps=50)
    with pytest.raises(EmoInputError, match="at least one video frame"):
        check_waveform(sound, fps=25)
    with pytest.raises(EmoInputError, match="fps"):
        check_waveform(sound, fps=0)
