"""What is heard, and what goes into the file, of two channels and of many."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from sounds import RATE, delay_s, encode, voice, write

from emo_core.audio import mono_16k, read_audio
from emo_core.audio.frames import Unpacker
from emo_core.audio.waveform import playable
from emo_core.channels import to_stereo
from emo_core.data import Waveform
from emo_core.errors import EmoInputError
from emo_core.video.sound import fit_audio

VOICE = voice(2.0)
HALF_POWER = 0.5**0.5


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


def heard_of(left: np.ndarray, right: np.ndarray) -> torch.Tensor:
    return mono_16k(Waveform(torch.from_numpy(np.stack([left, right])), RATE))


def at_16k(samples: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(soxr.resample(samples, RATE, 16_000, quality="HQ"))


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("seconds", [0.01, 3.3, 40.0])
def test_in_pieces_it_is_what_it_is_at_once(rate: int, seconds: float) -> None:
    """Ordinary sound, one channel and two."""
    chance = np.random.default_rng(0)
    sound = (0.1 * chance.standard_normal((2, round(rate * seconds)))).astype(np.float32)
    for channels in (sound[:1], sound):
        whole = soxr.resample(channels.mean(axis=0), rate, 16_000, quality="HQ")
        made = mono_16k(Waveform(torch.from_numpy(channels), rate))
        assert len(made) == -(-sound.shape[1] * 16_000 // rate)
        assert np.abs(made.numpy()[: len(whole)] - whole[: len(made)]).max() < 1e-5


@pytest.mark.parametrize("gain", [-1.0, -0.9, -1.1, -0.5])
def test_of_channels_in_opposite_phase_the_louder_is_heard(told: pytest.LogCaptureFixture, gain: float) -> None:
    made = heard_of(VOICE, np.float32(gain) * VOICE)
    expected = at_16k(VOICE if abs(gain) <= 1 else np.float32(gain) * VOICE)
    assert float((made - expected).abs().max()) < 1e-4
    assert "opposite in phase" in told.text and ("left" if abs(gain) <= 1 else "right") in told.text


def test_nearly_opposite_with_noise_of_each_microphone(told: pytest.LogCaptureFixture) -> None:
    noise = 0.002 * np.random.default_rng(0).standard_normal((2, len(VOICE))).astype(np.float32)
    made = heard_of(VOICE + noise[0], noise[1] - VOICE)
    likeness = torch.corrcoef(torch.stack([made, at_16k(VOICE)]))[0, 1]
    assert likeness > 0.99 and "opposite in phase" in told.text


def test_opposite_only_in_the_middle(told: pytest.LogCaptureFixture) -> None:
    """As of a recording whose cable was changed; the level stays what it was, without a click."""
    long = voice(6.0)
    right = long.copy()
    right[2 * RATE : 4 * RATE] *= -1
    made = heard_of(long, right)
    difference = (made - at_16k(long)).abs()
    assert float(difference.max()) < 0.25 and float(difference.mean()) < 1e-3
    assert float(made.diff().abs().max()) < 1.2 * float(at_16k(long).diff().abs().max())
    assert "for 2 s of 6.0 s" in told.text


@pytest.mark.parametrize("delay", [0, 24, 480, 4800])
def test_ordinary_stereo_is_averaged(told: pytest.LogCaptureFixture, delay: int) -> None:
    """Also with one channel later than the other, or silent."""
    for right in (np.roll(VOICE, delay), np.zeros_like(VOICE), 0.3 * VOICE, voice(2.0, seed=5), -0.2 * VOICE):
        right = right.astype(np.float32)
        made = heard_of(VOICE, right)
        assert float((made - at_16k((VOICE + right) / 2)).abs().max()) < 1e-4
    assert not told.text


def test_one_that_is_opposite_and_late(told: pytest.LogCaptureFixture) -> None:
    made = heard_of(VOICE, -np.roll(VOICE, 3))
    likeness = torch.corrcoef(torch.stack([made, at_16k(VOICE)]))[0, 1]
    assert likeness > 0.98


def test_silence_has_no_phase(told: pytest.LogCaptureFixture) -> None:
    assert not heard_of(np.zeros(RATE, np.float32), np.zeros(RATE, np.float32)).any() and not told.text
    assert mono_16k(Waveform(torch.zeros(2, 0), RATE)).shape == (0,)


@pytest.mark.parametrize("channels", [3, 4, 5, 6, 7, 8])
def test_the_centre_of_film_sound_is_heard_at_full(channels: int) -> None:
    film = np.zeros((channels, len(VOICE)), np.float32)
    film[2] = VOICE
    sound = Waveform(torch.from_numpy(film), RATE)
    assert float((mono_16k(sound) - at_16k(VOICE)).abs().max()) < 1e-4
    for made in (fit_audio(sound, Fraction(2)), playable(sound)):
        assert made.samples.shape == (2, len(VOICE))
        assert float((made.samples - HALF_POWER * torch.from_numpy(VOICE)).abs().max()) < 1e-6


def test_deep_effects_are_left_out_and_sides_stay_sides() -> None:
    film = torch.zeros(6, 100)
    film[3], film[4] = 1.0, 0.5
    assert torch.allclose(to_stereo(film), torch.tensor([[0.5 * HALF_POWER], [0.0]]).expand(2, 100))


def test_a_sum_above_full_scale_is_made_quieter_and_not_cut_off() -> None:
    film = torch.from_numpy(np.stack([VOICE] * 6)) * 2
    made = to_stereo(film)
    assert float(made.abs().max()) == pytest.approx(1, abs=1e-5)
    likeness = torch.corrcoef(torch.stack([made[0], torch.from_numpy(VOICE)]))[0, 1]
    assert likeness > 0.9999


@pytest.mark.parametrize("layout", ["2.1", "3.0", "3.0(back)", "4.0", "quad", "3.1", "4.1", "5.0", "5.0(side)", "5.1",
                                    "5.1(side)", "6.0", "6.1", "7.0", "7.1", "7.1(wide)"])  # fmt: skip
def test_channels_are_known_by_their_places(tmp_path: Path, layout: str) -> None:
    """The voice from in front, a hum as the deep effects, whatever else is there."""
    import av

    places = [channel.name for channel in av.AudioLayout(layout).channels]
    hum = 0.4 * np.sin(np.arange(len(VOICE)) * (2 * np.pi * 50 / RATE)).astype(np.float32)
    front = ["FC"] if "FC" in places else ["FL", "FR"]
    film = np.zeros((len(places), len(VOICE)), np.float32)
    for index, place in enumerate(places):
        film[index] = VOICE if place in front else hum if place == "LFE" else 0
    sound = read_audio(encode(tmp_path / "a.wav", "pcm_s16le", film, layout=layout))
    made = mono_16k(sound)
    likeness = torch.corrcoef(torch.stack([made, at_16k(VOICE)]))[0, 1]
    assert likeness > 0.999
    assert 0.35 < float(made.abs().max() / at_16k(VOICE).abs().max()) < 1.6


def test_film_sound_of_a_file(tmp_path: Path) -> None:
    film = np.zeros((6, len(VOICE)), np.float32)
    film[2] = VOICE
    write(tmp_path / "a.wav", film, format="WAVEX")
    write(tmp_path / "plain.wav", film)
    encode(tmp_path / "a.m4a", "aac", film, layout="5.1")
    encode(tmp_path / "a.ac3", "ac3", film, layout="5.1(side)")
    encode(tmp_path / "a.opus", "libopus", film, layout="5.1")
    for name in ("a.wav", "plain.wav", "a.m4a", "a.ac3", "a.opus"):
        sound = read_audio(tmp_path / name)
        assert sound.samples.shape[0] == 6
        heard = mono_16k(sound)
        assert float(heard.abs().max()) == pytest.approx(float(np.abs(VOICE).max()), rel=0.25)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.m4a", "aac"), ("a.opus", "libopus"), ("a.flac", "flac"), ("a.wav", "pcm_f32le")]
)
def test_eight_channels(tmp_path: Path, name: str, codec: str) -> None:
    """PyAV takes a frame of eight planes for one of nine, and its process with it."""
    film = np.zeros((8, len(VOICE)), np.float32)
    film[2] = VOICE
    sound = read_audio(encode(tmp_path / name, codec, film, layout="7.1"))
    assert sound.samples.shape[0] == 8 and sound.duration_s == pytest.approx(2.0, abs=0.05)
    centre = Waveform(sound.samples[2:3], RATE)
    assert delay_s(centre, VOICE, at_s=1.0) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("layout", "channels"), [("hexadecagonal", 3), ("22.2", 3), ("ambisonic 2", 1)])
def test_more_channels_of_known_places_are_mixed(layout: str, channels: int) -> None:
    import av

    places = [channel.name for channel in av.AudioLayout(layout).channels]
    samples = np.zeros((len(places), 1024), np.float32)
    samples[places.index("FC") if "FC" in places else 0] = VOICE[:1024]
    packed = np.ascontiguousarray(samples.T.reshape(1, -1))
    made = Unpacker().samples_of(av.AudioFrame.from_ndarray(packed, format="flt", layout=layout))
    assert made.shape == (channels, 1024) and np.corrcoef(made[-1], VOICE[:1024])[0, 1] > 0.999


def test_more_channels_of_unknown_places_are_refused(tmp_path: Path) -> None:
    many = write(tmp_path / "9.wav", np.stack([VOICE] * 9))
    with pytest.raises(EmoInputError, match="audio: found 9 channels; expected 1 to 8"):
        read_audio(many)
    both = write(tmp_path / "1.wav", VOICE).read_bytes() + many.read_bytes()
    (tmp_path / "a.wav").write_bytes(both)
    assert read_audio(tmp_path / "a.wav").samples.shape == (1, len(VOICE))
