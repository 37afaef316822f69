"""Speech from flite with the exact time of every phone, varied in rate, pitch and length of the vocal tract.

In: a sentence and a `Manner`. Out: an `Utterance`. flite is a small free synthesiser (Debian package `flite`); its
statistical voices slt, rms and awb and its diphone voice kal16 speak at 16 kHz and print when each phone ends.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import EmoInputError
from .phones import SILENCE, Phone, canonical

SAMPLE_RATE = 16_000
TRAIN_VOICES = ("slt", "rms", "kal16")
HELD_OUT_VOICE = "awb"
VOICES = (*TRAIN_VOICES, HELD_OUT_VOICE)

_WAV_HEAD = 44  # bytes, as flite writes it; the last four are the samples' bytes

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """Sound with its phones. `samples` (t,) float32 at 16 kHz in -1..1; `phones` cover it without gaps."""

    samples: Samples
    phones: tuple[Phone, ...]
    voice: str
    text: str

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True)
class Manner:
    """How a sentence is spoken. `stretch` 1.2 is a fifth slower; `pitch` multiplies the voice's fundamental (flite's
    own, formants stay); `tract` plays the voice faster, so pitch and formants rise together: another person."""

    stretch: float = 1.0
    pitch: float = 1.0
    tract: float = 1.0


# The mean fundamental of the diphone voice, in Hz, which takes an absolute value instead of a factor (measured).
_KAL_PITCH_HZ = 105.0


def synthesise(text: str, voice: str = "slt", manner: Manner | None = None) -> Utterance:
    """Speak `text` with a flite voice. EmoInputError if flite is not installed, or for another voice."""
    manner = manner or Manner()
    if voice not in VOICES:  # flite itself would quietly take another one
        raise EmoInputError("voice", repr(voice), f"one of {', '.join(VOICES)}")
    program = shutil.which("flite")
    if program is None:
        raise EmoInputError(
            "flite", "no program of that name", "flite on the path", "Install it: apt-get install flite."
        )
    # Playing faster by `tract` also shortens: stretch first, so that the rate stays what was asked for.
    features = {"duration_stretch": manner.stretch * manner.tract, "f0_shift": manner.pitch}
    if voice == "kal16":
        features["int_f0_target_mean"] = _KAL_PITCH_HZ * manner.pitch
    options = [part for name, value in features.items() for part in ("--setf", f"{name}={value:.4f}")]
    command = [program, "-voice", voice, *options, "-psdur", "-t", text, "-o"]
    samples, sample_rate, times = _spoken(command)
    phones = _parse_times(times)
    return as_utterance(samples, sample_rate * manner.tract, phones, native=16_000, voice=voice, text=text)


def _spoken(command: Sequence[str]) -> tuple[Samples, int, str]:
    """Samples, their rate and what flite prints; `command` is without the file. EmoInputError where it wrote no whole
    sound: of a full disk it says nothing, and may end as if all were well."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)  # noqa: S603 fixed program, own text
            if done.returncode == 0 and _is_whole(path):
                return *_read(path), done.stdout
    except OSError as error:
        raise _unspoken(error.strerror or str(error)) from error
    raise _unspoken(done.stderr.strip()[:200] or f"exit status {done.returncode}")


def _unspoken(why: str) -> EmoInputError:
    remedy = (
        f"See that the disk of temporary files ({_temporary()}) has room, and check flite's installation: flite -lv."
    )
    return EmoInputError("flite", f"no whole sound written ({why})", "speech", remedy)


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none that can be written to
        return "TMPDIR"


def _is_whole(path: Path) -> bool:
    """Whether a WAV file is as long as its head says: to be read, it need not be."""
    head = path.read_bytes()[:_WAV_HEAD] if path.is_file() else b""
    return len(head) == _WAV_HEAD and path.stat().st_size >= _WAV_HEAD + int.from_bytes(head[-4:], "little")


def _read(path: Path) -> tuple[Samples, int]:
    import soundfile

    samples, sample_rate = soundfile.read(path, dtype="float32")
    return samples, int(sample_rate)


def _parse_times(text: str) -> list[Phone]:
    """flite's `label:end_s` list."""
    phones, start = [], 0.0
    for part in text.split():
        label, _, end = part.partition(":")
        phones.append(Phone(canonical(label), start, float(end)))
        start = float(end)
    return phones


def as_utterance(
    samples: Samples, rate: float, phones: Sequence[Phone], *, native: int, voice: str, text: str
) -> Utterance:
    """Read samples of `native` Hz, whose phones have those times, as if recorded at `rate` Hz; bring them to 16 kHz
    and scale the times alike."""
    import soxr

    factor = native / rate
    if abs(rate / SAMPLE_RATE - 1.0) > 1e-4:
        samples = soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ").astype(np.float32)
    duration = len(samples) / SAMPLE_RATE
    timed = [Phone(p.label, min(p.start_s * factor, duration), min(p.end_s * factor, duration)) for p in phones]
    timed[-1] = timed[-1]._replace(end_s=duration)
    return Utterance(samples, tuple(p for p in timed if p.end_s > p.start_s), voice, text)


def silence(duration_s: float, rng: np.random.Generator) -> Utterance:
    """A quiet room: noise between -90 and -50 dB, sometimes with mains hum."""
    t = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    noise = rng.standard_normal(len(t)) * 10 ** rng.uniform(-4.5, -2.5)
    if rng.random() < 0.3:
        noise += 10 ** rng.uniform(-4.0, -2.5) * np.sin(2 * np.pi * rng.choice([50.0, 60.0, 100.0, 120.0]) * t)
    return Utterance(noise.astype(np.float32), (Phone(SILENCE, 0.0, len(t) / SAMPLE_RATE),), "silence", "")


def join(parts: Sequence[Utterance]) -> Utterance:
    """Several utterances one after the other, as one of the first one's voice."""
    phones: list[Phone] = []
    offset = 0.0
    for part in parts:
        phones += [Phone(p.label, p.start_s + offset, p.end_s + offset) for p in part.phones]
        offset += part.duration_s
    samples = np.concatenate([p.samples for p in parts])
    spoken = next((p for p in parts if p.voice != "silence"), parts[0])
    return Utterance(samples, tuple(phones), spoken.voice, " ".join(p.text for p in parts if p.text))


def scaled(utterance: Utterance, peak: float) -> Utterance:
    """The same at another level: its largest sample becomes `peak`."""
    largest = float(np.abs(utterance.samples).max(initial=1e-6))
    return replace(utterance, samples=(utterance.samples * (peak / largest)).astype(np.float32))
