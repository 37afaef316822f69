"""control/voice: what is loud and what is stressed, in 0..1, and nothing in silence."""

from __future__ import annotations

import torch

from emo_core.control.voice import hann_mean, voice_level, voice_stress
from emo_core.data import Waveform

RATE, FPS, FRAMES = 16000, 25.0, 200


def spoken(*loud: tuple[float, float], floor: float = 0.1) -> Waveform:
    """Eight seconds of noise, ten times as loud between each pair of seconds."""
    seconds = torch.arange(8 * RATE) / RATE
    amplitude = torch.full_like(seconds, floor)
    for start, stop in loud:
        amplitude[(seconds >= start) & (seconds < stop)] = 10 * floor
    return Waveform((amplitude * torch.randn(len(seconds), generator=torch.Generator().manual_seed(0)))[None], RATE)


def test_a_word_louder_than_its_phrase_is_stressed() -> None:
    stress = voice_stress(spoken((2.0, 2.3), (5.0, 5.3), floor=0.05), FRAMES, FPS)
    assert stress.shape == (FRAMES,) and bool(((stress >= 0) & (stress <= 1)).all())
    assert float(stress[[53, 128]].min()) > 0.9
    assert float(stress[[10, 75, 110, 160]].max()) < 0.1


def test_a_steady_voice_stresses_nothing_and_silence_neither() -> None:
    assert float(voice_stress(spoken(), FRAMES, FPS)[10:-10].max()) < 0.4
    assert not voice_stress(Waveform(torch.zeros(1, RATE), RATE), 25, FPS).any()


def test_a_long_loud_passage_is_level_but_not_stress() -> None:
    voice = spoken((2.0, 6.0))
    assert float(voice_level(voice, FRAMES, FPS)[75:125].min()) > 0.8
    assert float(voice_stress(voice, FRAMES, FPS)[80:120].max()) < 0.4


def test_means_keep_a_constant_to_the_ends() -> None:
    assert torch.allclose(hann_mean(torch.ones(9), 5), torch.ones(9))
