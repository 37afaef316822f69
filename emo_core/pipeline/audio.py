"""Sound to audio features: in, a Waveform and the frame rate; out, one window of encoder features per video frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..data import AudioFeatures, Waveform
from .offload import Offload

if TYPE_CHECKING:
    from ..models.emo import EmoModel


@torch.no_grad()
def encode_audio(
    model: EmoModel,
    waveform: Waveform,
    fps: float | None = None,
    *,
    voice: Waveform | None = None,
    lead_in_s: float = 0.0,
    lead_out_s: float = 0.0,
    offload: Offload | None = None,
) -> AudioFeatures:
    """Windows (f, w, l, d) for exactly round(seconds * fps) frames; `fps` defaults to the model's own. `voice`: what is
    listened to in place of the sound itself, as long as it (see `audio.vocals`).

    `lead_in_s` and `lead_out_s` seconds of silence (whole frames of it) come before and after the voice.
    `offload`: how the encoder comes to the card.

    Raises EmoInputError for sound that is empty, silent, not finite or shorter than a frame.
    """
    from ..audio.windows import audio_features

    rate = model.config.clip.fps if fps is None else fps
    with (offload or Offload()).stage(model, "audio_encoder"):
        return audio_features(
            model.audio_encoder,
            waveform,
            rate,
            model.config.audio_projection,
            voice=voice,
            lead_in_s=lead_in_s,
            lead_out_s=lead_out_s,
        )
