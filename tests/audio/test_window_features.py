"""Features that are there already: windows without copying them, another encoder's brought to the frame rate."""

from __future__ import annotations

import pytest
import torch

from emo_core.audio.encoder import AudioEncoder
from emo_core.audio.waveform import playable
from emo_core.audio.windows import MARGIN_S, PIECE_S, encode_frames, encode_windows, resample_features, window_features
from emo_core.config import TINY, AudioProjectionConfig
from emo_core.data import Waveform

FEATURES = torch.randn(7, 3, 4, generator=torch.Generator().manual_seed(0))


def test_windows_repeat_the_edges_and_cost_no_memory() -> None:
    windows = encode_windows(FEATURES, 2)
    assert windows.shape == (7, 5, 3, 4)
    for frame in range(7):
        around = [min(max(frame + step, 0), 6) for step in range(-2, 3)]
        assert torch.equal(windows[frame], FEATURES[around])
    assert windows.untyped_storage().nbytes() == (7 + 4) * 3 * 4 * 4


def test_windows_of_features_bring_the_sound_of_their_length() -> None:
    waveform = Waveform(torch.zeros(1, 5000), 16000)
    audio = window_features(FEATURES, waveform, fps=25, projection=AudioProjectionConfig(features="last_layer"))
    assert audio.windows.shape == (7, 5, 1, 4) and torch.equal(audio.windows[:, 2, 0], FEATURES[:, -1])
    assert audio.waveform is not None and audio.waveform.samples.shape == (1, round(7 / 25 * 16000))


@pytest.mark.parametrize(
    ("channels", "rate", "expected"),
    [(1, 16000, 16000), (2, 44100, 44100), (8, 48000, 48000), (2, 192000, 48000), (1, 9000, 11025), (2, 50000, 64000)],
)
def test_sound_for_players_has_a_rate_they_know(channels: int, rate: int, expected: int) -> None:
    tone = torch.sin(torch.arange(rate) * (2 * torch.pi * 440 / rate)).expand(channels, -1)
    sound = playable(Waveform(tone, rate))
    assert sound.sample_rate == expected and sound.samples.shape == (min(channels, 2), expected)
    middle = sound.samples[0, expected // 4 : expected // 2]
    assert float(middle.abs().max()) == pytest.approx(1, abs=0.05)


def test_layers_of_another_encoder_come_to_the_frame_rate() -> None:
    ramp = torch.linspace(0, 1, 100)[None, :, None].expand(1, 100, 4)
    features = resample_features([ramp, 2 * ramp.half()], 50)
    assert features.shape == (50, 2, 4) and features.dtype == torch.float32
    torch.testing.assert_close(features[:, 0, 0], torch.linspace(0.005, 0.995, 50), atol=0.002, rtol=0)
    torch.testing.assert_close(features[:, 1], 2 * features[:, 0], atol=2e-3, rtol=0)


def test_every_piece_of_a_long_recording_is_announced_and_may_be_the_last() -> None:
    encoder = AudioEncoder(TINY.audio_encoder).eval()
    waveform = Waveform(torch.zeros(1, int((PIECE_S + 3 * MARGIN_S) * 16000)), 16000)

    class Stopped(Exception):
        pass

    heard = []

    def on_piece(done: int, pieces: int) -> None:
        heard.append((done, pieces))
        if done == 1:
            raise Stopped

    with pytest.raises(Stopped):
        encode_frames(encoder, waveform, 5, on_piece)
    assert heard == [(0, 2), (1, 2)]
