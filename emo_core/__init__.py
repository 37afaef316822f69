"""EMO (Emote Portrait Alive, arXiv 2402.17485): a portrait and a voice in, a talking video out.

     audio ──► audio/encoder ──► audio/windows ─────────────────┐
                                                                ▼
     portrait ─► face/detect ─► face/crop ─► vae.encode ─► ReferenceNet ─► ReferenceCache
                     └────────► face/region ─► FaceLocator ─┐   │
     speed value or curve ────► control/speed ─► SpeedLayers┤   │
                                                            ▼   ▼
              plan (clips) ─► for each clip: denoise(Backbone) ─► vae.decode ─► video/writer ─► mp4
                                      ▲                              │
                                      └── last n frames: motion frames, carried as a value

    model     = load_model("emo-mini")
    portrait  = prepare_portrait(image, model.config.clip.size)
    reference = encode_reference(model, portrait)
    audio     = encode_audio(model, read_audio("voice.wav"), fps=25)
    write_video("out.mp4", generate(model, reference, audio), audio.fps, audio.waveform)

A stage is a function from the records of `data` to the next; `config` says what a model is. Nothing is imported before
it is used, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .audio.file import read_audio
    from .data import Clip, ClipState, Controls, GenerateSettings, Waveform
    from .errors import EmoInputError
    from .face.crop import prepare_portrait
    from .pipeline.audio import encode_audio
    from .pipeline.generate import generate
    from .pipeline.reference import encode_reference
    from .video.writer import write_video
    from .weights.file import load_model, save_model
    from .weights.inspect import inspect

__all__ = [
    "Clip",
    "ClipState",
    "Controls",
    "EmoInputError",
    "GenerateSettings",
    "Waveform",
    "encode_audio",
    "encode_reference",
    "generate",
    "inspect",
    "load_model",
    "prepare_portrait",
    "read_audio",
    "save_model",
    "write_video",
]

_HOMES = {
    "Clip": "data",
    "ClipState": "data",
    "Controls": "data",
    "EmoInputError": "errors",
    "GenerateSettings": "data",
    "Waveform": "data",
    "encode_audio": "pipeline.audio",
    "encode_reference": "pipeline.reference",
    "generate": "pipeline.generate",
    "inspect": "weights.inspect",
    "load_model": "weights.file",
    "prepare_portrait": "face.crop",
    "read_audio": "audio.file",
    "save_model": "weights.file",
    "write_video": "video.writer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
