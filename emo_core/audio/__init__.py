"""Sound in, one window of encoder features per video frame out (paper 3.2, "Audio Layers").

`read_audio` -> `Waveform` -> `AudioEncoder` (wav2vec2's shape) -> `AudioFeatures`. Importing this package is cheap:
transformers, PyAV and soxr are imported where they are first used.
"""

from ..config import AudioEncoderConfig
from .encoder import AudioEncoder, wav2vec2_state
from .file import check_waveform, read_audio
from .room import fit_length
from .waveform import mono_16k, normalise
from .whisper import WhisperEncoder, whisper_state
from .windows import audio_features, encode_windows, frame_count

__all__ = [
    "AudioEncoder",
    "WhisperEncoder",
    "audio_encoder",
    "audio_features",
    "check_waveform",
    "encode_windows",
    "fit_length",
    "frame_count",
    "mono_16k",
    "normalise",
    "read_audio",
    "wav2vec2_state",
    "whisper_state",
]


def audio_encoder(config: AudioEncoderConfig) -> AudioEncoder | WhisperEncoder:
    """The encoder that a configuration describes."""
    return AudioEncoder(config) if config.kind == "wav2vec2" else WhisperEncoder(config)
