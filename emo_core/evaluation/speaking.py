"""The product's own path from a sound to frames. In: a model, a reference, samples. Out: `Spoken`, as the 8-bit
pictures that a video would show."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import AudioFeatures, ClipState, Controls, GenerateSettings, Portrait, ReferenceCache, Waveform
from .truth import FPS, SAMPLE_RATE

if TYPE_CHECKING:
    from ..models.emo import EmoModel

Sound = NDArray[np.float32]
Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Spoken:
    """`frames` (f, H, W, 3); `borders`: first frames of the clips but the first; `states`: what each clip left for the
    next."""

    frames: Pictures
    borders: tuple[int, ...]
    states: tuple[ClipState, ...]


def speak(
    model: EmoModel,
    reference: ReferenceCache,
    sound: Sound,
    controls: Controls,
    settings: GenerateSettings,
    *,
    lead_s: tuple[float, float] = (0.0, 0.0),
    resume: ClipState | None = None,
    clips: int | None = None,
) -> Spoken:
    """A video of samples (t,) at 16 kHz; no more than so many `clips` of it, from `resume` on if it is given."""
    from ..pipeline.audio import encode_audio
    from ..pipeline.generate import generate

    waveform = Waveform(torch.from_numpy(sound)[None], SAMPLE_RATE)
    audio: AudioFeatures = encode_audio(model, waveform, FPS, lead_in_s=lead_s[0], lead_out_s=lead_s[1])
    frames, borders, states = [], [0], []
    made = generate(model, reference, audio, controls, settings, resume=resume)
    for clip in itertools.islice(made, clips):
        frames.append((clip.frames.float().clamp(0, 1) * 255).round().byte().cpu().numpy())
        borders.append(borders[-1] + len(clip.frames))
        states.append(clip.state)
    return Spoken(np.concatenate(frames), tuple(borders[1:-1]), tuple(states))


def reference_of(model: EmoModel, picture: Pictures, face_box: NDArray[np.floating]) -> ReferenceCache:
    """What the model reads of a portrait (H, W, 3) that is cut already, with its face's box (4,)."""
    from ..pipeline.reference import encode_reference

    crop, size = torch.from_numpy(picture).float() / 255, float(picture.shape[0])
    left, top, right, bottom = face_box.tolist()
    return encode_reference(model, Portrait(crop, (left, top, right, bottom), (0.0, 0.0, size, size), crop))
