"""Sounds of kinds that FFmpeg does not know (Matlab's, Ensoniq's, old workstations'): in, a path; out, a `Recording`
filled by libsndfile, where that is installed."""

from __future__ import annotations

from pathlib import Path

from .part import Part, PartFile
from .recording import Recording

_AT_ONCE = 1 << 16  # frames


def read_other(path: Path, into: Recording, part: Part | None = None) -> bool:
    """Whether anything was read, of the whole file or a part of it. What a header promises is not believed: reading
    ends where the sound does."""
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the wheel without its libsndfile
        return False
    before = into.seconds
    try:
        with PartFile(path, part or Part(0, path.stat().st_size)) as file, soundfile.SoundFile(file) as sound:
            while not into.complete:
                samples = sound.read(_AT_ONCE, dtype="float32", always_2d=True)
                if not len(samples):
                    break
                into.add(samples.T, sound.samplerate)
    except (soundfile.LibsndfileError, RuntimeError, OSError, TypeError):  # TypeError: a format that needs settings
        pass
    return into.seconds > before
