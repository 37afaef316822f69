"""Separation of the voice: the way to the network and back loses nothing, and what is not there is said."""

from __future__ import annotations

import logging
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_files import write_copy, write_first_numbers

from emo_core.audio.vocals import FILE, GAIN, RATE, separate, voice_of
from emo_core.data import Waveform
from emo_core.errors import EmoInputError

SHAPE = (1, 4, 3072, 256)


def tones(rate: int, seconds: float, channels: int = 2) -> Waveform:
    """Two tones that the network is shown all of, other ones in each channel."""
    time = torch.arange(round(rate * seconds)) / rate
    left, right = (sum(torch.sin(2 * torch.pi * hz * time) for hz in pair) / 4 for pair in ((220, 1000), (330, 5000)))
    return Waveform(torch.stack([left, right])[:channels], rate)


def runtime(
    monkeypatch: pytest.MonkeyPatch, answer: object = None, shape: tuple[int, ...] = SHAPE
) -> list[torch.Tensor]:
    """An onnxruntime whose network answers with what it is shown, or with `answer`; what it was shown."""
    shown: list[torch.Tensor] = []

    class Session:
        def __init__(self, path: str, providers: list[str]) -> None:
            assert path.endswith(FILE)

        def get_inputs(self) -> list[types.SimpleNamespace]:
            return [types.SimpleNamespace(name="input", shape=["batch", *shape[1:]])]

        def run(self, names: None, given: dict[str, np.ndarray]) -> list[object]:
            shown.append(torch.from_numpy(given["input"].copy()))
            return [given["input"] if answer is None else answer]

    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace(InferenceSession=Session))
    return shown


@pytest.mark.parametrize("seconds", [0.3, 13.7])  # less than a piece, and three pieces
def test_a_network_that_changes_nothing_gives_the_sound_back(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = runtime(monkeypatch)
    given = tones(RATE, seconds)
    voice = separate(given, Path(FILE))
    assert voice.sample_rate == RATE and voice.samples.shape == given.samples.shape
    inside = slice(2000, -2000)  # the tones begin and end with a click, which has all frequencies
    assert float((voice.samples - given.samples * GAIN)[:, inside].abs().max()) < 4e-3
    assert len(shown) == -(-given.samples.shape[-1] // (255 * 1024 - 7680))
    assert all(tuple(piece.shape) == SHAPE and not bool(piece[:, :, :3].any()) for piece in shown)


def test_mono_of_another_rate_comes_as_long_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime(monkeypatch)
    voice = separate(tones(16_000, 1.0, channels=1), Path(FILE))
    assert voice.samples.shape == (2, RATE) and torch.equal(voice.samples[0], voice.samples[1])
    assert float(voice.samples.std()) > 0.1


def test_another_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = tones(RATE, 0.2)
    runtime(monkeypatch, shape=(1, 3, 112, 112))
    with pytest.raises(EmoInputError, match=r"vocals: .*inputs \['batch', 3, 112, 112\]"):
        separate(sound, Path(FILE))
    runtime(monkeypatch, answer=np.zeros((1, 512), np.float32))
    with pytest.raises(EmoInputError, match=r"an answer of shape \(1, 512\)"):
        separate(sound, Path(FILE))


def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sound = tones(RATE, 0.2)
    assert voice_of(sound, None) is sound
    assert f"off: {FILE} is not beside the model" in caplog.text
    network = tmp_path / FILE
    network.touch()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert voice_of(sound, network) is sound and "onnxruntime is not installed" in caplog.text
    runtime(monkeypatch)
    assert voice_of(sound, network) is not sound and "was separated with" in caplog.text


def test_the_encoder_hears_the_voice_and_the_video_keeps_the_sound() -> None:
    from emo_core.audio import AudioEncoder
    from emo_core.audio.windows import audio_features
    from emo_core.config import TINY

    torch.manual_seed(0)
    encoder = AudioEncoder(TINY.audio_encoder).eval()
    mix, voice = tones(16_000, 1.0), tones(RATE, 1.0)
    voice = Waveform(voice.samples * torch.linspace(0, 1, RATE), RATE)
    heard = audio_features(encoder, mix, 25.0, TINY.audio_projection, voice=voice)
    alone = audio_features(encoder, voice, 25.0, TINY.audio_projection)
    assert torch.equal(heard.windows, alone.windows) and heard.waveform is not None
    assert torch.equal(heard.waveform.samples, mix.samples)
    assert not torch.equal(heard.windows, audio_features(encoder, mix, 25.0, TINY.audio_projection).windows)


def test_with_onnxruntime_itself(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    network = write_copy(tmp_path / FILE, SHAPE)
    given = tones(RATE, 0.3)
    voice = separate(given, network)
    assert float((voice.samples - given.samples * GAIN)[:, 2000:-2000].abs().max()) < 4e-3
    write_first_numbers(network, SHAPE, 512)
    with pytest.raises(EmoInputError, match="an answer of shape"):
        separate(given, network)
    network.write_bytes(b"<html>")
    with pytest.raises(EmoInputError, match="does not load"):
        separate(given, network)
