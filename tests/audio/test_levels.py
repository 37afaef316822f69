"""Samples that are not between -1 and 1, and rates that are not usual."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import RATE, delay_s, encode, voice, write

from emo_core.audio import read_audio
from emo_core.audio.file import _cut_off_beside, usable
from emo_core.data import Waveform
from emo_core.errors import EmoInputError

VOICE = voice(1.0)
PEAK = float(np.abs(VOICE).max())


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


@pytest.mark.parametrize(
    ("gain", "peak"),
    [(1, PEAK), (1.9 / PEAK, 1.9), (3 / PEAK, 1.0), (32767, PEAK), (2**23 - 1, PEAK), (2**31 - 1, PEAK), (1e20, 1.0)],
)
def test_floats_far_above_1_are_scaled(
    tmp_path: Path, told: pytest.LogCaptureFixture, gain: float, peak: float
) -> None:
    for subtype in ("FLOAT", "DOUBLE"):
        told.clear()
        sound = read_audio(write(tmp_path / "a.wav", VOICE * np.float32(gain), subtype=subtype))
        assert float(sound.samples.abs().max()) == pytest.approx(peak, rel=1e-3)
        likeness = torch.corrcoef(torch.stack([sound.samples[0], torch.from_numpy(VOICE)]))[0, 1]
        assert likeness > 0.99999
        assert ("are divided by" in told.text) == (peak * 2 < gain * PEAK)


def test_a_click_does_not_make_the_rest_quiet(tmp_path: Path, told: pytest.LogCaptureFixture) -> None:
    clicked = VOICE.copy()
    clicked[[1000, 30_000]] = 500, -700
    sound = read_audio(write(tmp_path / "a.wav", clicked, subtype="FLOAT"))
    kept = np.abs(sound.samples[0].numpy() - VOICE) < 1e-6
    assert float(sound.samples.abs().max()) == 1 and kept.sum() == len(VOICE) - 2
    assert "2 samples far above full scale" in told.text


@pytest.mark.parametrize("seconds", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_nor_does_a_glitch_of_some_milliseconds(
    tmp_path: Path, told: pytest.LogCaptureFixture, seconds: float, channels: int
) -> None:
    sound = np.tile(voice(seconds), (channels, 1))
    glitched = sound.copy()
    glitched[:, 5000:5700] *= 2.15 / np.abs(sound[:, 5000:5700]).max()
    heard = read_audio(write(tmp_path / "a.wav", glitched, subtype="FLOAT")).samples.numpy()
    kept = np.abs(heard - sound) < 1e-6
    assert np.abs(heard).max() == 1 and kept[:, :5000].all() and kept[:, 5700:].all()
    assert "are cut off at 1" in told.text and "divided" not in told.text


def test_a_very_short_sound_that_is_too_loud_is_scaled(tmp_path: Path) -> None:
    heard = read_audio(write(tmp_path / "a.wav", VOICE[:960] * 32767, subtype="FLOAT")).samples[0].numpy()
    assert np.abs(heard - VOICE[:960]).max() < 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_what_a_decoder_makes_beside_a_damaged_place_is_not_the_level(tmp_path: Path, seed: int) -> None:
    original = voice(3.0, seed=seed)
    path = encode(tmp_path / "a.mp3", "libmp3lame", original)
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 4, len(data) * 3 // 4, 2000):
        data[place : place + 300] = bytes(300)
    path.write_bytes(data)
    heard = read_audio(path).samples[0]
    assert float(heard[: RATE // 2].abs().max()) == pytest.approx(np.abs(original[: RATE // 2]).max(), rel=0.15)


def test_a_spike_beside_a_damaged_place_does_not_count_however_long_it_is() -> None:
    for places, calm in (
        ([(0.5, 0.02)], True),
        ([(0.45, 0.02), (0.5, 0.02), (0.5, 0.02)], True),
        ([(0.8, 0.02)], False),
    ):
        samples = torch.from_numpy(VOICE.copy())[None]
        samples[:, 22_000:26_000] = 3.0
        before = samples.clone()
        _cut_off_beside(places, Waveform(samples, RATE))
        assert torch.equal(samples, before.clamp(-1, 1) if calm else before)


def test_sound_of_somebody_else_is_not_changed_where_it_lies() -> None:
    samples = torch.from_numpy(VOICE[None] * 3000)
    given = samples.clone()
    assert float(usable(Waveform(samples, RATE)).samples.abs().max()) < 1
    assert torch.equal(samples, given)
    fine = torch.from_numpy(VOICE[None])
    assert usable(Waveform(fine, RATE)).samples is fine


@pytest.mark.parametrize(("rate", "new_rate"), [(6_000, 16_000), (7_350, 16_000), (384_000, 48_000), (352_800, 48_000)])
def test_rates_beyond_the_usual_are_converted(tmp_path: Path, rate: int, new_rate: int) -> None:
    sound = read_audio(write(tmp_path / "a.wav", voice(1.0, rate), rate))
    assert sound.sample_rate == new_rate and sound.samples.shape == (1, new_rate)
    assert delay_s(sound, voice(1.0, rate), rate, at_s=0.4) == pytest.approx(0, abs=0.001)


def test_the_slowest_aac(tmp_path: Path) -> None:
    sound = read_audio(encode(tmp_path / "a.aac", "aac", voice(2.0, 7_350), 7_350, container="adts"))
    assert sound.sample_rate == 16_000 and sound.duration_s == pytest.approx(2.1, abs=0.2)


@pytest.mark.parametrize("rate", [1, 4_000, 2_000_000])
def test_rates_of_no_sound_are_refused(tmp_path: Path, rate: int) -> None:
    with pytest.raises(EmoInputError, match=f"found {rate} Hz; expected 5000 to 1000000 Hz"):
        usable(Waveform(torch.from_numpy(VOICE[None]), rate))


@pytest.mark.parametrize("rate", [0, 2**31 - 1, 2**32 - 1])
def test_a_header_with_such_a_rate_takes_no_memory(tmp_path: Path, rate: int) -> None:
    data = bytearray(write(tmp_path / "a.wav", VOICE).read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(EmoInputError, match="audio: found"):
        read_audio(tmp_path / "a.wav")


def test_the_input_is_called_what_the_user_calls_it(tmp_path: Path) -> None:
    broken = VOICE.copy()
    broken[5] = np.nan
    for path in (write(tmp_path / "a.wav", broken, subtype="FLOAT"), tmp_path / "no.wav", tmp_path):
        with pytest.raises(EmoInputError) as caught:
            read_audio(path, name="driving sound")
        assert caught.value.name == "driving sound"
