"""Whisper's encoder as EchoMimic listens with it: 16 kHz samples in, fifty vectors a second of all its layers out.

Names are OpenAI's (`whisper_tiny.pt`); `whisper_state` also takes transformers'. Radford et al. 2022 (arXiv
2212.04356): log-mel of 80 bands, 25 ms windows every 10 ms, pieces of 30 s. EchoMimic stacks what enters the first
block and what leaves each, without the last LayerNorm.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import AudioEncoderConfig
from ..libraries import importing
from ..models.attention import attend
from .room import fit_length
from .waveform import ENCODER_RATE

BANDS, WINDOW, HOP = 80, 400, 160  # samples at 16 kHz: 25 ms every 10 ms
PIECE = 30 * ENCODER_RATE  # samples that the encoder hears at a time
FEATURE_RATE = 50.0  # vectors per second: the second convolution halves the spectrogram's 100
POSITIONS = 1500

# transformers' names -> OpenAI's, below "encoder.".
_TRANSFORMERS = {
    r"layers\.(\d+)\.self_attn\.q_proj": r"blocks.\1.attn.query",
    r"layers\.(\d+)\.self_attn\.k_proj": r"blocks.\1.attn.key",
    r"layers\.(\d+)\.self_attn\.v_proj": r"blocks.\1.attn.value",
    r"layers\.(\d+)\.self_attn\.out_proj": r"blocks.\1.attn.out",
    r"layers\.(\d+)\.self_attn_layer_norm": r"blocks.\1.attn_ln",
    r"layers\.(\d+)\.fc1": r"blocks.\1.mlp.0",
    r"layers\.(\d+)\.fc2": r"blocks.\1.mlp.2",
    r"layers\.(\d+)\.final_layer_norm": r"blocks.\1.mlp_ln",
    r"embed_positions\.weight": "positional_embedding",
}


def whisper_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released Whisper's encoder under `WhisperEncoder`'s names. The decoder and the last LayerNorm are not read."""
    out = {}
    for key, value in state.items():
        name = key.removeprefix("model.")
        if not name.startswith("encoder.") or name.startswith(("encoder.ln_post.", "encoder.layer_norm.")):
            continue
        name = name.removeprefix("encoder.")
        for pattern, new in _TRANSFORMERS.items():
            name = re.sub(f"^{pattern}", new, name)
        out[name] = value
    return out


def whisper_of(shapes: Mapping[str, Sequence[int]], base: AudioEncoderConfig) -> AudioEncoderConfig:
    """`base` with the sizes of an encoder of these shapes; heads are 64 wide, as in all of OpenAI's, or `base`'s."""
    width = shapes["conv1.weight"][0]
    return dataclasses.replace(
        base,
        kind="whisper",
        hidden_size=width,
        layers=len({key.split(".")[1] for key in shapes if key.startswith("blocks.")}),
        heads=width // 64 if width % 64 == 0 else base.heads,
        intermediate_size=shapes["blocks.0.mlp.0.weight"][0],
    )


class WhisperAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(attend(self.query(tokens), self.key(tokens), self.value(tokens), self.heads))


class WhisperBlock(nn.Module):
    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.attn_ln = nn.LayerNorm(width)
        self.attn = WhisperAttention(width, heads)
        self.mlp_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.attn_ln(tokens))
        return tokens + self.mlp(self.mlp_ln(tokens))


class WhisperEncoder(nn.Module):
    """Convolutions over the spectrogram, positions, transformer blocks."""

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.conv1 = nn.Conv1d(BANDS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", _positions(POSITIONS, width))
        self.positional_embedding: Tensor
        self.blocks = nn.ModuleList(
            WhisperBlock(width, config.heads, config.intermediate_size) for _ in range(config.layers)
        )

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Log-mel (b, 80, 3000) -> (b, 1500, l + 1, d): what enters the first block, and what leaves each."""
        hidden = F.gelu(self.conv2(F.gelu(self.conv1(spectrogram)))).transpose(1, 2)
        hidden = hidden + self.positional_embedding[: hidden.shape[1]]
        states = [hidden]
        for block in self.blocks:
            states.append(block(states[-1]))
        return torch.stack(states, dim=2)

    @torch.no_grad()
    def encode(self, samples: Tensor, on_piece: Callable[[int, int], None] | None = None) -> Tensor:
        """Samples (t,) at 16 kHz, -1..1, of any length -> (ceil(50 * seconds), l + 1, d)."""
        weight = self.conv1.weight
        count = math.ceil(samples.shape[-1] / (HOP * 2))
        pieces = max(1, -(-samples.shape[-1] // PIECE))
        spectrogram = log_mel(fit_length(samples, pieces * PIECE), heard=samples.shape[-1])
        parts = []
        for done, part in enumerate(spectrogram.split(PIECE // HOP, dim=-1)):
            if on_piece is not None:
                on_piece(done, pieces)
            parts.append(self(part[None].to(weight.device, weight.dtype))[0])
        return torch.cat(parts)[:count]


def log_mel(samples: Tensor, *, heard: int) -> Tensor:
    """Samples (t,) -> log-mel (80, t / 160), at most 80 dB below the loudest of the first `heard` samples."""
    window = torch.hann_window(WINDOW, device=samples.device)
    spectrum = torch.stft(samples.float(), WINDOW, HOP, window=window, return_complex=True)[..., :-1].abs().square()
    mel = (mel_filters().to(samples.device) @ spectrum).clamp(min=1e-10).log10()
    loudest = mel[:, : max(1, math.ceil(heard / HOP))].max()
    return (mel.clamp(min=float(loudest) - 8.0) + 4.0) / 4.0


def mel_filters() -> Tensor:
    """80 triangles over 201 frequencies, (80, 201), on Slaney's scale and of equal area (Whisper's own table)."""
    with importing("librosa"):
        import librosa

    filters = librosa.filters.mel(sr=ENCODER_RATE, n_fft=WINDOW, n_mels=BANDS)
    return torch.from_numpy(filters).float()


def frame_windows(features: Tensor, frames: int, fps: float) -> Tensor:
    """Ten vectors around each video frame: features (t, l, d) at 50 Hz -> (frames, 10, l, d).

    Frame i is at int(50 i / fps), from 4 before to 5 after; the edges are repeated (EchoMimic, MuseTalk).
    """
    middle = (torch.arange(frames, dtype=torch.float64) * (FEATURE_RATE / fps)).floor().long()
    around = torch.arange(-4, 6)
    return features[(middle[:, None] + around).clamp(0, len(features) - 1).to(features.device)]


def _positions(length: int, width: int) -> Tensor:
    """Sines, then cosines."""
    rate = torch.exp(-math.log(10000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(length)[:, None] * rate[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
