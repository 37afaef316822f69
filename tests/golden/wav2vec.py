"""Hallo's wav2vec: hidden states of all layers at the video's frame rate, and windows of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from emo_core.audio import AudioEncoder, encode_windows, normalise, wav2vec2_state
from emo_core.config import AudioEncoderConfig
from emo_core.weights.shapes import wav2vec2_of

from .weights import regenerate


def applies(folder: Path) -> bool:
    return (folder / "io.safetensors").is_file()


def run(folder: Path, salt: int | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(what we got, what is expected), by golden name."""
    io, meta = load_file(folder / "io.safetensors"), json.loads((folder / "meta.json").read_text())
    state = wav2vec2_state(regenerate(json.loads((folder / "weights_manifest.json").read_text()), salt or 0))
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    heads = meta["config"]["num_attention_heads"]
    config = dataclasses.replace(wav2vec2_of(shapes, AudioEncoderConfig()), heads=heads)
    encoder = AudioEncoder(config).eval()
    encoder.load_state_dict(state, strict=True)
    padded = torch.zeros_like(io["normalised_padded"])
    padded[: len(io["wav"])] = normalise(io["wav"])
    with torch.no_grad():
        cnn = encoder.feature_extractor(padded[None])
        hidden = encoder(padded[None], frames=meta["frames"])[0]
    got = {
        "normalised_padded": padded,
        "cnn_features": cnn,
        "hidden_states_1_12": hidden,
        "windows": encode_windows(hidden, 2),
    }
    return got, {name: io[name] for name in got}
