"""The encoder: wav2vec2's tensors by name, the released Hallo's own numbers, lengths and windows."""

import dataclasses
import json
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from emo_core.audio import AudioEncoder, audio_features, encode_windows, frame_count, normalise, wav2vec2_state
from emo_core.audio import encoder as encoder_module
from emo_core.audio import windows as windows_module
from emo_core.config import EMO_MINI, TINY, AudioEncoderConfig
from emo_core.data import Waveform

FIXTURES = Path(__file__).parent.parent / "fixtures" / "audio"
HALLO_TEST_SIZE = AudioEncoderConfig(
    conv_dim=(16,) * 7, hidden_size=32, layers=12, heads=4, intermediate_size=64, pos_conv_kernel=16, pos_conv_groups=4
)


def tiny(**changes: object) -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(dataclasses.replace(TINY.audio_encoder, **changes)).eval()


def seeded_weights(manifest: dict[str, list[int]], salt: int = 0) -> dict[str, torch.Tensor]:
    """The recipe of the golden numbers: every tensor from its own key."""
    state = {}
    for key, shape in manifest.items():
        generator = torch.Generator().manual_seed((zlib.crc32(key.encode()) + salt) & 0x7FFFFFFF)
        r = torch.randn(shape, generator=generator, dtype=torch.float32)
        if len(shape) >= 2:
            state[key] = r / (r[0].numel() ** 0.5)
        else:
            state[key] = 1 + 0.1 * r if key.endswith(".weight") else 0.05 * r
    return state


@pytest.mark.parametrize("old_names", [False, True])
def test_wav2vec2_base_loads_by_name(old_names: bool) -> None:
    manifest = json.loads((FIXTURES / "wav2vec2_base_manifest.json").read_text())
    with torch.device("meta"):
        encoder = AudioEncoder(AudioEncoderConfig())
        state = {f"wav2vec2.{k}" if old_names else k: torch.empty(v) for k, v in manifest.items()}
    if old_names:
        stem = "wav2vec2.encoder.pos_conv_embed.conv."
        for number, name in ((0, "weight_g"), (1, "weight_v")):
            state[stem + name] = state.pop(f"{stem}parametrizations.weight.original{number}")
        state["lm_head.weight"] = torch.empty(1)
    translated = wav2vec2_state(state)
    encoder.load_state_dict(translated, strict=True, assign=True)
    assert len(translated) == len(manifest) - 1  # all but the mask token of pre-training


def test_equals_hallo() -> None:
    """Hallo's own wav2vec on the same samples and weights: all twelve layers at 25 fps, and the windows of five."""
    io = load_file(FIXTURES / "wav2vec_io.safetensors")
    manifest = json.loads((FIXTURES / "wav2vec_manifest.json").read_text())
    encoder = AudioEncoder(HALLO_TEST_SIZE).eval()
    encoder.load_state_dict(wav2vec2_state(seeded_weights(manifest)), strict=True)
    with torch.no_grad():
        hidden = encoder(io["normalised_padded"].reshape(1, -1), frames=48)[0]
    error = (hidden - io["hidden_states_1_12"]).pow(2).mean().sqrt() / io["hidden_states_1_12"].pow(2).mean().sqrt()
    assert error < 1e-5
    assert torch.equal(encode_windows(io["hidden_states_1_12"], 2), io["windows"])


@pytest.mark.parametrize("pre_norm", [False, True])
def test_equals_transformers_own_hidden_states(pre_norm: bool) -> None:
    from transformers import Wav2Vec2Model

    from emo_core.audio.encoder import _transformers_config

    encoder = tiny(pre_norm=pre_norm)
    theirs = Wav2Vec2Model(_transformers_config(encoder.config)).eval()
    theirs.load_state_dict(encoder.state_dict(), strict=True)
    samples = normalise(torch.randn(2, 8000))
    with torch.no_grad():
        out = theirs(samples, output_hidden_states=True)
        # transformers 4 and 5 disagree on the last one before or after pre-norm's final LayerNorm; ours is after.
        expected = [*out.hidden_states[1:-1], out.last_hidden_state]
        found = encoder(samples, frames=expected[0].shape[1])
    assert torch.allclose(found, torch.stack(expected, dim=2), atol=1e-5)


@pytest.mark.parametrize("interpolation", ["before", "after"])
@pytest.mark.parametrize("frames", [1, 7, 40])
def test_shape_for_any_number_of_frames(interpolation: str, frames: int) -> None:
    encoder = tiny(interpolation=interpolation)
    hidden = encoder(torch.randn(2, 9000), frames=frames)
    assert hidden.shape == (2, frames, 2, 16)
    hidden.sum().backward()
    without = [n for n, p in encoder.named_parameters() if p.grad is None]
    # The last layer norm of post-norm wav2vec2 stands before the layers, so everything is reached.
    assert without == []


def test_mini_is_small() -> None:
    assert sum(p.numel() for p in AudioEncoder(EMO_MINI.audio_encoder).parameters()) < 1_000_000


@pytest.mark.parametrize("fps", [12.5, 23.976, 25, 29.97, 30, 60])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_exact_number_of_windows_and_samples(fps: float, rate: int) -> None:
    sound = Waveform(torch.randn(2, round(1.337 * rate)) * 0.1, rate)
    features = audio_features(tiny(), sound, fps, TINY.audio_projection)
    assert features.frames == round(sound.duration_s * fps) == frame_count(sound, fps)
    assert features.windows.shape[1:] == (5, 2, 16)
    assert features.waveform is not None
    assert features.waveform.samples.shape == (2, round(features.frames / fps * rate))


def test_windows_repeat_the_edges() -> None:
    features = torch.arange(4.0)[:, None, None].expand(4, 2, 3)
    found = encode_windows(features, 2)[:, :, 0, 0]
    assert found.tolist() == [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 3, 3]]


def test_last_layer_only() -> None:
    projection = dataclasses.replace(TINY.audio_projection, features="last_layer")
    features = audio_features(tiny(), Waveform(torch.randn(1, 16000), 16000), 25, projection)
    assert features.windows.shape == (25, 5, 1, 16)


def test_level_does_not_matter_and_silence_stays_quiet() -> None:
    encoder, sound = tiny(), torch.randn(1, 16000)
    loud = audio_features(encoder, Waveform(sound * 0.5, 16000), 25, TINY.audio_projection).windows
    soft = audio_features(encoder, Waveform(sound * 0.05, 16000), 25, TINY.audio_projection).windows
    assert torch.allclose(loud, soft, atol=2e-3)
    assert float(normalise(torch.full((1, 1000), 1e-6)).abs().max()) < 1e-3


def test_long_files_go_in_pieces_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces with margins the features are those of the whole file, but for what attention sees far away."""
    encoder = AudioEncoder(EMO_MINI.audio_encoder).eval()
    sound = Waveform(torch.randn(1, 16000 * 20), 16000)
    whole = windows_module.encode_frames(encoder, sound, 25)
    monkeypatch.setattr(windows_module, "PIECE_S", 4.0)
    monkeypatch.setattr(windows_module, "MARGIN_S", 2.0)
    pieces = windows_module.encode_frames(encoder, sound, 25)
    assert pieces.shape == whole.shape
    near = np.corrcoef(pieces.flatten().numpy(), whole.flatten().numpy())[0, 1]
    shifted = np.corrcoef(pieces[1:].flatten().numpy(), whole[:-1].flatten().numpy())[0, 1]
    assert near > 0.9
    assert shifted < near - 0.1


def test_convolutions_a_few_seconds_at_a_time_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, samples = tiny(conv_norm="layer"), torch.randn(2, 16_000)
    whole = encoder(samples, frames=25)
    seen: list[int] = []
    encoder.feature_extractor.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[-1]))
    monkeypatch.setattr(encoder_module, "PIECE", 7)
    assert torch.allclose(encoder(samples, frames=25), whole, atol=1e-5)
    assert len(seen) > 3 and max(seen) < 16_000 / 3
    of_all_time = tiny(conv_norm="group")  # normalises over time: never in pieces
    of_all_time.feature_extractor.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[-1]))
    of_all_time(samples, frames=25)
    assert seen[-1] == 16_000


def test_import_is_light() -> None:
    code = "import sys, emo_core.audio; print(sorted({'transformers', 'librosa', 'av', 'soxr'} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
