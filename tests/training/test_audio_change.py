"""An audio encoder that says the same in other directions changes nothing of what a network hears."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pytest
import torch

from emo_core.audio import AudioEncoder
from emo_core.config import EMO_MINI, AudioProjectionConfig
from emo_core.errors import EmoInputError
from emo_core.models.audio_projection import AudioProjection
from emo_core.training.audio_change import hear_as_before
from emo_core.training.voices.corpus import VoiceRecord
from emo_core.training.voices.visemes import MOUTH_ACTIONS

SMALL = dataclasses.replace(
    EMO_MINI.audio_encoder, layers=2, hidden_size=16, intermediate_size=16, conv_dim=(16, 16, 16, 16)
)
FRAMES = 60


def records(count: int) -> list[VoiceRecord]:
    rng = np.random.default_rng(0)
    tracks = np.zeros((FRAMES, len(MOUTH_ACTIONS) + 1), np.float16)
    loud = [np.repeat(rng.random(FRAMES), 640) * rng.standard_normal(FRAMES * 640) for _ in range(count)]
    return [VoiceRecord((samples * 3000).astype(np.int16), tracks, (), "noise", "") for samples in loud]


class Turned(AudioEncoder):
    """The same, said in other directions and from another zero."""

    def forward(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        said = super().forward(samples, frames)
        torch.manual_seed(3)
        other = torch.linalg.qr(torch.randn(said.shape[-1], said.shape[-1])).Q * 1.5
        return said @ other + 0.3


def projection(config: AudioProjectionConfig = EMO_MINI.audio_projection) -> AudioProjection:
    torch.manual_seed(1)
    layers = SMALL.layers if config.features == "all_layers" else 1
    return AudioProjection(config, layers=layers, width=SMALL.hidden_size, window_frames=5, audio_dim=16)


def hear(projected: AudioProjection, encoder: AudioEncoder, sound: torch.Tensor) -> torch.Tensor:
    layers = slice(-1, None) if projected.config.features == "last_layer" else slice(None)
    windows = encoder(sound, frames=25)[:, :, layers].unfold(1, 5, 1).permute(0, 1, 4, 2, 3)
    tokens: torch.Tensor = projected(windows)
    return tokens


@pytest.mark.parametrize("features", ["all_layers", "last_layer"])
def test_a_network_hears_the_new_encoder_as_the_old_one(features: Literal["all_layers", "last_layer"]) -> None:
    torch.manual_seed(0)
    was, now = AudioEncoder(SMALL).eval(), Turned(SMALL).eval()
    now.load_state_dict(was.state_dict())
    heard = projection(dataclasses.replace(EMO_MINI.audio_projection, features=features))
    sound = torch.randn(1, 16000)
    with torch.no_grad():
        before, unchanged = hear(heard, was, sound), hear(heard, now, sound)
        assert hear_as_before(heard, was, now, records(24)) > 0.95
        after = hear(heard, now, sound)
    assert (after - before).square().mean() < 0.02 * (unchanged - before).square().mean()


def test_what_cannot_follow_is_told() -> None:
    encoder = AudioEncoder(SMALL).eval()
    tokens_as_they_are = projection(dataclasses.replace(EMO_MINI.audio_projection, kind="none"))
    with pytest.raises(EmoInputError, match=r"audio_projection\.kind: found 'none'"):
        hear_as_before(tokens_as_they_are, encoder, encoder, [])
    with pytest.raises(EmoInputError, match="voices: found 3 utterances"):
        hear_as_before(projection(), encoder, encoder, records(3))
