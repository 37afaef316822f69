"""Whisper's encoder against transformers' own, its spectrogram, lengths, and EchoMimic's windows."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from emo_core.audio import WhisperEncoder, whisper_state
from emo_core.audio.whisper import frame_windows, log_mel, whisper_of
from emo_core.audio.windows import audio_features
from emo_core.config import ECHOMIMIC, AudioEncoderConfig
from emo_core.data import Waveform

SMALL = AudioEncoderConfig(kind="whisper", hidden_size=24, layers=2, heads=6, intermediate_size=48)
RATE = 16_000


def sound(seconds: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return 0.1 * torch.randn(round(seconds * RATE), generator=generator)


@pytest.fixture(scope="module")
def encoder() -> WhisperEncoder:
    torch.manual_seed(0)
    return WhisperEncoder(SMALL).eval()


def test_spectrogram_equals_transformers_own() -> None:
    from transformers import WhisperFeatureExtractor

    samples = sound(1.3)
    theirs = WhisperFeatureExtractor()(samples.numpy(), sampling_rate=RATE, return_tensors="pt").input_features[0]
    padded = torch.nn.functional.pad(samples, (0, 30 * RATE - len(samples)))
    assert float((log_mel(padded, heard=len(samples)) - theirs).abs().max()) < 1e-4


def test_states_equal_transformers_own() -> None:
    """What enters the first block and what leaves all but the last; the last before its LayerNorm."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder as Theirs

    torch.manual_seed(1)
    theirs = Theirs(
        WhisperConfig(
            d_model=24, encoder_layers=2, encoder_attention_heads=6, encoder_ffn_dim=48, num_mel_bins=80, dropout=0.0
        )
    ).eval()
    state = whisper_state({f"model.encoder.{k}": v for k, v in theirs.state_dict().items()})
    ours = WhisperEncoder(whisper_of({k: v.shape for k, v in state.items()}, SMALL)).eval()
    missing, extra = ours.load_state_dict(state, strict=False)
    assert missing == [] and extra == []
    mel = torch.randn(1, 80, 3000)
    with torch.no_grad():
        got = ours(mel)
        expected = theirs(mel, output_hidden_states=True).hidden_states
        last = theirs.layer_norm(got[:, :, -1])
    for index in range(2):
        assert torch.allclose(got[:, :, index], expected[index], atol=1e-5)
    assert torch.allclose(last, expected[-1], atol=1e-5)


def test_positions_are_openais(encoder: WhisperEncoder) -> None:
    table = encoder.positional_embedding
    assert table.shape == (1500, 24)
    assert torch.equal(table[0], torch.cat([torch.zeros(12), torch.ones(12)]))
    assert abs(float(table[7, 11]) - 7e-4) < 1e-6  # the slowest sine turns by 1/10000 per position


@pytest.mark.parametrize("seconds", [0.3, 31.0])
def test_fifty_vectors_a_second_whatever_the_length(encoder: WhisperEncoder, seconds: float) -> None:
    heard: list[tuple[int, int]] = []
    features = encoder.encode(sound(seconds), lambda done, pieces: heard.append((done, pieces)))
    assert features.shape == (round(seconds * 50), 3, 24)
    assert heard == [(i, len(heard)) for i in range(len(heard))] and len(heard) == (1 if seconds < 30 else 2)


def test_windows_are_echomimics() -> None:
    """Frame i: ten vectors from int(50 i / fps) - 4 on, the edges repeated."""
    features = torch.arange(50.0).view(50, 1, 1)
    windows = frame_windows(features, 24, 24.0)[:, :, 0, 0]
    assert windows[0].tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 4, 5]
    assert windows[7].tolist() == list(range(10, 20))  # 14.58 -> 14
    assert windows[23].tolist() == [43, 44, 45, 46, 47, 48, 49, 49, 49, 49]


def test_features_of_a_recording(encoder: WhisperEncoder) -> None:
    waveform = Waveform(sound(0.5)[None], RATE)
    made = audio_features(encoder, waveform, 24.0, ECHOMIMIC.audio_projection)
    assert made.windows.shape == (12, 10, 3, 24) and made.fps == 24.0
    assert bool(torch.isfinite(made.windows).all())


def test_v_express_hears_two_vectors_per_frame() -> None:
    from emo_core.audio import AudioEncoder
    from emo_core.config import TINY, V_EXPRESS

    config = dataclasses.replace(TINY.audio_encoder, interpolation="after", per_frame=2)
    made = audio_features(
        AudioEncoder(config).eval(), Waveform(sound(0.4)[None], RATE), 25.0, V_EXPRESS.audio_projection
    )
    assert made.windows.shape == (10, 10, 1, 16)
    assert made.tail is not None and made.tail.shape == (12, 10, 1, 16)  # half a second that is cut off
    assert float(made.windows[0, :4].abs().max()) == 0.0 and float(made.tail[-1, 6:].abs().max()) == 0.0
    assert torch.equal(made.windows[3, 6], made.windows[4, 4])
