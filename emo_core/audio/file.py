"""Reading sound: any file PyAV or soundfile opens, a video's sound track too, into a checked `Waveform`.

What is allowed, and the error that everything else gets, is the last section of the design ("What bad input gets").
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import Waveform
from ..errors import EmoInputError

MIN_RATE, MAX_RATE = 8_000, 192_000  # Hz
MAX_CHANNELS = 8
SILENCE_PEAK = 1e-4  # -80 dB of full scale
_SAMPLES = "samples that are numbers, nominally -1 to 1"

log = logging.getLogger(__name__)


def read_audio(path: str | os.PathLike[str], *, max_seconds: float | None = None, name: str = "audio") -> Waveform:
    """The sound of a file (wav, flac, mp3, ogg, m4a, a video ...) as it is: (channels, t) at the file's own rate.

    `max_seconds`: no more than the first so many of it. `name`: the input as the user knows it, for messages.
    EmoInputError for a file that is missing, has no sound, or holds something `check_waveform` refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise EmoInputError("audio", f"no file at {path}", "a sound or video file", "Check the path.")
    if path.stat().st_size == 0:
        raise EmoInputError("audio", f"an empty file, {path.name}", "a sound or video file", "Export it again.")
    samples, sample_rate = _read_soundfile(path) or _read_av(path)
    wanted = None if max_seconds is None else round(max_seconds * sample_rate)
    waveform = Waveform(torch.from_numpy(np.ascontiguousarray(samples[:, :wanted])), sample_rate)
    check_waveform(waveform)
    return waveform


def check_waveform(waveform: Waveform, fps: float | None = None) -> None:
    """EmoInputError unless the sound can be used; `fps` also asks for at least one video frame of it.

    A silent recording is only warned of: a face that keeps its mouth shut may be what is wanted.
    """
    samples, rate = waveform.samples, waveform.sample_rate
    if samples.ndim != 2:
        raise EmoInputError("audio", f"samples of shape {tuple(samples.shape)}", "(channels, t)")
    channels, length = samples.shape
    if not 1 <= channels <= MAX_CHANNELS:
        raise EmoInputError("audio", f"{channels} channels", f"1 to {MAX_CHANNELS}", "Mix it down to stereo or mono.")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise EmoInputError("audio", f"{rate} Hz", f"{MIN_RATE} to {MAX_RATE} Hz", "Convert it to 16000 or 48000 Hz.")
    if length == 0:
        raise EmoInputError("audio", "no samples", "at least one video frame of sound", "Check that it plays.")
    if not bool(torch.isfinite(samples).all()):
        bad = int((~torch.isfinite(samples)).sum())
        raise EmoInputError("audio", f"{bad} samples that are NaN or infinite", _SAMPLES, "Export it again.")
    if fps is not None:
        check_length(length, rate, fps)
    if float(samples.abs().max()) < SILENCE_PEAK:
        log.warning("audio: the recording is silent (peak %.1e); the mouth will stay shut", float(samples.abs().max()))


def check_length(length: int, sample_rate: int, fps: float) -> None:
    """EmoInputError for a frame rate that is none, or sound shorter than one frame of it."""
    if not 0 < fps <= 240:
        raise EmoInputError("fps", f"{fps}", "more than 0, at most 240 frames per second")
    if length / sample_rate < 1 / fps:
        found = f"{1000 * length / sample_rate:.1f} ms of sound"
        raise EmoInputError(
            "audio", found, f"at least one video frame, {1000 / fps:.1f} ms at {fps:g} fps", "Use more of it."
        )


def _read_soundfile(path: Path) -> tuple[NDArray[np.float32], int] | None:
    """(channels, t) and Hz, or None if soundfile is absent or does not know the format."""
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the wheel without its libsndfile
        return None
    try:
        samples, sample_rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError):
        return None
    return samples.T, int(sample_rate)


def _read_av(path: Path) -> tuple[NDArray[np.float32], int]:
    """(channels, t) and Hz of the first sound track, through FFmpeg."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise EmoInputError(
                    "audio", f"no sound track in {path.name}", "a file with sound", "Choose another file."
                )
            return _decode(container, path)
    except (FFmpegError, UnicodeDecodeError) as error:
        raise EmoInputError(
            "audio",
            f"{path.name}, which cannot be read ({error})",
            "wav, flac, mp3, ogg, m4a or a video",
            "Convert it.",
        ) from error


def _decode(container: Any, path: Path) -> tuple[NDArray[np.float32], int]:
    import av

    stream = container.streams.audio[0]
    layout, rate = stream.codec_context.layout, stream.codec_context.sample_rate
    if not rate or not layout.nb_channels:
        raise EmoInputError("audio", f"a damaged sound track in {path.name}", "a file with sound", "Export it again.")
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    parts = [part.to_ndarray() for frame in container.decode(stream) for part in resampler.resample(frame)]
    parts += [part.to_ndarray() for part in resampler.resample(None)]
    if not parts:
        return np.zeros((layout.nb_channels, 0), np.float32), rate
    return np.concatenate(parts, axis=1).astype(np.float32), rate
