"""A wav2vec2-shaped encoder that answers at the video's frame rate with the hidden states of all its layers.

In: 16 kHz samples, normalised over the whole file. Out: one vector per frame and transformer layer, the "features
extracted by the various blocks" of the paper's 3.2. The blocks are transformers' Wav2Vec2Model, with its parameter
names (`feature_extractor`, `feature_projection`, `encoder`), so that a released wav2vec2-base loads by name after
`wav2vec2_state`. As in Hallo, the CNN's features are brought to the frame rate before the transformer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import AudioEncoderConfig
from ..errors import EmoInputError
from ..libraries import importing

# Both spellings of the positional convolution's weight norm: torch's old and its parametrized one.
_WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
_PREFIXES = ("wav2vec2.", "audio_encoder.", "model.")
PIECE = 512  # CNN features that are computed at a time: about ten seconds
# Parts of released checkpoints that no forward pass of ours reaches: the mask token of pre-training, CTC's and
# pre-training's heads.
_UNUSED = ("masked_spec_embed", "lm_head.", "quantizer.", "project_hid.", "project_q.")


def wav2vec2_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released wav2vec2 checkpoint's tensors under `AudioEncoder`'s names.

    Drops the prefix of Wav2Vec2ForCTC and its heads, and translates the old spelling of weight norm.
    """
    out = {}
    for key, value in state.items():
        for prefix in _PREFIXES:
            key = key.removeprefix(prefix)
        if key.startswith(_UNUSED):
            continue
        stem, _, last = key.rpartition(".")
        if stem.endswith("pos_conv_embed.conv") and last in _WEIGHT_NORM:
            key = f"{stem}.{_WEIGHT_NORM[last]}"
        out[key] = value
    return out


class AudioEncoder(nn.Module):
    """The encoder: convolutions over the wave, then a transformer over frames (see the module's docstring)."""

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        with importing("transformers"):
            from transformers import Wav2Vec2Model

        self.config = config
        model = Wav2Vec2Model(_transformers_config(config))
        self.feature_extractor = model.feature_extractor
        # Otherwise transformers asks for the gradient of the sound itself whenever the module is in training mode.
        self.feature_extractor._requires_grad = False
        self.feature_projection = model.feature_projection
        self.encoder = model.encoder

    @property
    def receptive_field(self) -> int:
        """Samples that one CNN feature sees; shorter sound is padded with silence."""
        field = 1
        for kernel, stride in zip(reversed(self.config.conv_kernel), reversed(self.config.conv_stride), strict=True):
            field = (field - 1) * stride + kernel
        return field

    def forward(self, samples: Tensor, frames: int) -> Tensor:
        """Hidden states (b, frames, l, d) of all l layers, from samples (b, t) at 16 kHz, normalised.

        The sound is taken to last exactly `frames` video frames, whatever their rate.
        """
        if frames < 1:
            raise EmoInputError("frames", f"{frames}", "1 or more")
        samples = F.pad(samples, (0, max(0, self.receptive_field - samples.shape[-1])))
        features = self._convolved(samples)
        before = self.config.interpolation == "before"
        if before:
            features = F.interpolate(features, size=frames, mode="linear", align_corners=True)
        hidden = self.hidden_states(features.transpose(1, 2))
        if before:
            return hidden
        b, t, l, d = hidden.shape  # noqa: E741 the axis alphabet's name
        flat = hidden.reshape(b, t, l * d).transpose(1, 2)
        # Hidden states are interpolated without aligned corners in V-Express (facts/v-express.md).
        flat = F.interpolate(flat, size=frames, mode="linear", align_corners=False)
        return flat.transpose(1, 2).reshape(b, frames, l, d)

    def _convolved(self, samples: Tensor) -> Tensor:
        """CNN features (b, c, ~50 a second). Where every layer normalises each moment by itself they are computed a few
        seconds at a time, which is exact: the first layer's maps are a hundred times as large as what is kept."""
        field, stride = self.receptive_field, math.prod(self.config.conv_stride)
        total = (samples.shape[-1] - field) // stride + 1
        if self.config.conv_norm != "layer" or total <= PIECE:
            features: Tensor = self.feature_extractor(samples)
            return features
        starts = range(0, total, PIECE)
        ends = [(min(start + PIECE, total) - 1) * stride + field for start in starts]
        parts = [self.feature_extractor(samples[:, a * stride : b]) for a, b in zip(starts, ends, strict=True)]
        return torch.cat(parts, dim=-1)

    def hidden_states(self, features: Tensor) -> Tensor:
        """(b, f, l, d) after each transformer layer, from CNN features (b, f, c).

        transformers' own `hidden_states[1:]`: the last is `last_hidden_state` (with pre-norm that is after the final
        LayerNorm, as in transformers 4; 5 lists it before), the embedding (index 0) is left out.
        """
        projected = self.feature_projection(features)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        encoder: Any = self.encoder
        hidden = hidden + encoder.pos_conv_embed(hidden)
        if not self.config.pre_norm:
            hidden = encoder.layer_norm(hidden)
        states = []
        for layer in encoder.layers:
            out = layer(hidden, attention_mask=None)
            hidden = out[0] if isinstance(out, tuple) else out  # a tuple up to transformers 4, a tensor from 5 on
            states.append(hidden)
        if self.config.pre_norm:
            states[-1] = encoder.layer_norm(states[-1])
        return torch.stack(states, dim=2)


def _transformers_config(config: AudioEncoderConfig) -> Any:
    with importing("transformers"):
        from transformers import Wav2Vec2Config

    settings: dict[str, Any] = {
        "conv_dim": list(config.conv_dim),
        "conv_kernel": list(config.conv_kernel),
        "conv_stride": list(config.conv_stride),
        "num_feat_extract_layers": len(config.conv_dim),
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.intermediate_size,
        "num_conv_pos_embeddings": config.pos_conv_kernel,
        "num_conv_pos_embedding_groups": config.pos_conv_groups,
        "feat_extract_norm": config.conv_norm,
        "conv_bias": config.conv_bias,
        "do_stable_layer_norm": config.pre_norm,
    }
    # No dropout, no masking: the encoder is frozen in all of EMO's stages, and our own pre-training augments instead.
    for name in ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop"):
        settings[name] = 0.0
    made = Wav2Vec2Config(**settings, mask_time_prob=0.0, mask_feature_prob=0.0)
    made._attn_implementation = "sdpa"
    return made
