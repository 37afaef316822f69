"""Silence around the voice: whole frames of it, the voice in step, and half a second more behind that is cut off."""

from __future__ import annotations

import pytest
import torch

from emo_core.audio.encoder import AudioEncoder
from emo_core.audio.waveform import lead_frames, with_lead
from emo_core.audio.windows import TAIL_S, audio_features, encode_frames, frame_count, window_features
from emo_core.config import TINY
from emo_core.data import Waveform
from emo_core.errors import EmoInputError


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(TINY.audio_encoder).eval()


def voice(seconds: float, rate: int = 16000) -> Waveform:
    samples = torch.randn(2, round(seconds * rate), generator=torch.Generator().manual_seed(0))
    return Waveform(samples * 0.1, rate)


@pytest.mark.parametrize(("fps", "rate"), [(25.0, 16000), (29.97, 44100), (12.5, 8000)])
@pytest.mark.parametrize(("lead_in", "lead_out"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.3), (0.33, 0.77)])
def test_the_video_grows_by_whole_frames(
    encoder: AudioEncoder, fps: float, rate: int, lead_in: float, lead_out: float
) -> None:
    sound = voice(0.71, rate)
    made = audio_features(encoder, sound, fps, TINY.audio_projection, lead_in_s=lead_in, lead_out_s=lead_out)
    assert (made.lead_in, made.lead_out) == (round(lead_in * fps), round(lead_out * fps))
    assert made.frames == round(0.71 * fps) + made.lead_in + made.lead_out
    assert made.tail is not None and len(made.tail) == round(TAIL_S * fps)
    assert made.waveform is not None and made.waveform.samples.shape == (2, round(made.frames / fps * rate))


def test_the_voice_lies_where_its_frames_are() -> None:
    sound = voice(0.4)
    longer = with_lead(sound, 25.0, 5, 3)
    assert longer.samples.shape == (2, (10 + 8) * 640) and frame_count(longer, 25.0) == 18
    assert torch.equal(longer.samples[:, 5 * 640 : 15 * 640], sound.samples)
    assert float(longer.samples[:, : 5 * 640].abs().max()) == 0 == float(longer.samples[:, 15 * 640 :].abs().max())
    assert with_lead(sound, 25.0, 0, 0) is sound


def test_silence_around_it_does_not_change_how_loud_the_voice_is(
    encoder: AudioEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder hears the voice at the level it has alone, and exact silence around it."""
    heard = []
    listen = encoder.forward

    def remember(samples: torch.Tensor, **more: int) -> torch.Tensor:
        heard.append(samples[0])
        return listen(samples, **more)

    monkeypatch.setattr(encoder, "forward", remember)
    features = [encode_frames(encoder, voice(0.8), 25.0, before=before, after=before) for before in (0, 10)]
    assert [len(part) for part in features] == [20, 40]
    alone, surrounded = heard
    assert torch.equal(surrounded[6400:-6400], alone) and float(alone.std()) == pytest.approx(1, abs=1e-3)
    assert float(surrounded[:6400].abs().max()) == 0 == float(surrounded[-6400:].abs().max())


def test_features_without_silence_behind_them_have_no_tail() -> None:
    made = window_features(torch.randn(10, 2, 16), voice(0.4), fps=25.0, projection=TINY.audio_projection)
    assert made.frames == 10 and made.tail is None


@pytest.mark.parametrize("seconds", [-0.1, 11.0])
def test_a_lead_without_sense_is_refused(seconds: float) -> None:
    with pytest.raises(EmoInputError, match="lead_out"):
        lead_frames(seconds, 25.0, name="lead_out")
