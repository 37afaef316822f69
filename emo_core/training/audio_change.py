"""A trained network goes on with another audio encoder: in, its audio projection, the encoder that it was trained on,
and the one that it will hear; the projection's first layer then takes what the new one says for what the old one said.

An encoder that learns for longer says much the same in other directions. What a linear map finds again of it (least
squares over some minutes of speech) is folded into that layer, which is linear itself: no step of the network's
training is lost. emo-mini's, after 72 minutes more and of other voices: the features of a new voice were .39 correlated
with the old ones, of which the map found 82 % of the variance again; the loss in the mouth box of unseen puppets was
1.44 before and after, of heads .57 and .59.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..audio.encoder import AudioEncoder
from ..audio.waveform import normalise
from ..errors import EmoInputError
from ..models.audio_projection import AudioProjection
from .voices.corpus import VoiceRecord

_RIDGE = 100.0  # added to sums of squares of some 50,000 frames of deviation 1: against directions that say nothing
_HELD_BACK = 8  # every eighth utterance tells how much was found again


@torch.no_grad()
def hear_as_before(
    projection: AudioProjection, was: AudioEncoder, now: AudioEncoder, records: Sequence[VoiceRecord]
) -> float:
    """Change the projection in place; returns the share of the old features' variance that was found again (0..1), on
    utterances that the map was not made from. EmoInputError where the first layer is not linear."""
    if projection.config.kind != "mlp":
        allowed = "'mlp', whose first layer is linear"
        raise EmoInputError("audio_projection.kind", repr(projection.config.kind), allowed, "Train without it.")
    if len(records) < _HELD_BACK:
        raise EmoInputError("voices", f"{len(records)} utterances", f"at least {_HELD_BACK}", "Run `train voices`.")
    layers = slice(-1, None) if projection.config.features == "last_layer" else slice(None)
    new, old = _features(now, records, layers), _features(was, records, layers)
    held, rest = slice(0, None, _HELD_BACK), [i for i in range(len(records)) if i % _HELD_BACK]
    weight, bias = _linear_map(torch.cat([new[i] for i in rest]), torch.cat([old[i] for i in rest]))
    truth = torch.cat(old[held])
    left = (torch.cat(new[held]) @ weight + bias - truth).square().sum()
    _fold(projection.proj1, weight, bias)
    return 1 - float(left / (truth - truth.mean(0)).square().sum())


def _features(encoder: AudioEncoder, records: Sequence[VoiceRecord], layers: slice) -> list[Tensor]:
    """Of each utterance (frames, layers * width), float64."""
    sounds = [(normalise(torch.from_numpy(record.samples))[None], len(record.tracks)) for record in records]
    return [encoder(samples, frames=frames)[0, :, layers].flatten(1).double() for samples, frames in sounds]


def _linear_map(new: Tensor, old: Tensor) -> tuple[Tensor, Tensor]:
    """weight (n, m) and bias (m,): old is about new @ weight + bias."""
    scale, middle, target = new.std(0) + 1e-3, new.mean(0), old.mean(0)
    unit = (new - middle) / scale
    squares = unit.T @ unit + _RIDGE * torch.eye(unit.shape[1], dtype=unit.dtype)
    weight = torch.linalg.solve(squares, unit.T @ (old - target)) / scale[:, None]
    return weight, target - middle @ weight


def _fold(layer: torch.nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """The layer reads a window of frames; each is mapped alike."""
    frames = layer.weight.double().unflatten(1, (-1, weight.shape[1]))
    layer.bias.add_(torch.einsum("own,n->o", frames, bias))
    layer.weight.copy_(torch.einsum("own,mn->owm", frames, weight).flatten(1))
