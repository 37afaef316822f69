"""Reading sound: any file FFmpeg reads, a video's sound track too, into a checked `Waveform`.

What is allowed, and the error that everything else gets, is the last section of the design ("What bad input gets").
"""

from __future__ import annotations

import logging
import math
import os
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..channels import MAX_CHANNELS, PIECE, peak
from ..data import Waveform
from ..errors import EmoInputError
from ..files import expanded, readable_file, shown
from .other import read_other
from .part import Part
from .parts import sound_parts
from .recording import Recording
from .resample import resample
from .room import silent
from .track import Findings, decode_part, raise_if_ours
from .xing import counted

MIN_RATE, MAX_RATE = 8_000, 192_000  # Hz
# Rates that occur beyond these (the slowest of AAC, recorders of bats) are converted.
_SLOWEST, _SLOW_RATE, _FASTEST, _FAST_RATE = 5_000, 16_000, 1_000_000, 48_000
SILENCE_PEAK = 1e-4  # -80 dB of full scale
_OVERSHOOT = 2.0  # up to here samples above 1 are left: mastering and lossy codecs make them
_INTEGERS = (2.0**15, 2.0**23, 2.0**31)  # full scales of whole numbers that somebody wrote as floats
_CLICKS = 1e-4  # if no more of all samples are too loud, they are not what the level is, ...
_CLICKS_S = 0.02  # ... nor if no more than so long is, ...
_CLICKS_MOST = 0.1  # ... unless that is much of it
_LONGEST_S = 1e9  # thirty years: all of it
_BESIDE_S = 0.1  # so near to a damaged place a decoder makes what was not recorded
_SAMPLES = "samples that are numbers, nominally -1 to 1"
_KINDS = "wav, flac, mp3, ogg, m4a or a video"
_TOLD = 3  # places that a message names

log = logging.getLogger(__name__)
_silent_sound: weakref.ref[Tensor] | None = None  # that was told last


def read_audio(path: str | os.PathLike[str], *, max_seconds: float | None = None, name: str = "audio") -> Waveform:
    """The sound of a file (wav, flac, mp3, ogg, m4a, a video ...): (channels, t), nearly always at the file's own rate.

    `max_seconds`: only the first so many are decoded; None or infinity is all. `name`: the input as the user knows it,
    for messages. Damaged places, and times at which nothing was recorded, are silence, which a warning tells; in a
    video, the sound begins with the first picture.
    EmoInputError for a file that is missing, has no sound, or holds something `check_waveform` refuses.
    """
    max_seconds = _limit(max_seconds)
    path = readable_file(expanded(path), name=name, allowed="a sound or video file", again="Export it again.")
    recording, findings = Recording(name, max_seconds), Findings()
    failure = _read_parts(path, recording, findings, name=name)
    if failure is not None and not recording.seconds and not read_other(path, recording):
        if isinstance(failure, EmoInputError):
            raise failure
        found = f"{shown(path.name)}, which cannot be read ({_shortened(failure)})"
        raise EmoInputError(name, found, _KINDS, "Convert it.") from failure
    _tell(findings, path, name)
    waveform = recording.finish()
    if waveform.samples.shape[0] <= MAX_CHANNELS:
        _cut_off_beside(findings.damaged, waveform)
    waveform = usable(waveform, name=name, own=True)
    _tell_silence(waveform.samples, name)
    return waveform


def _limit(seconds: Any) -> float | None:
    """None for all of it. EmoInputError for what is no number above 0."""
    if seconds is None:
        return None
    try:
        number = math.nan if isinstance(seconds, (str, bytes, bool)) else float(seconds)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not number > 0:
        remedy = "Leave it out for the whole sound."
        raise EmoInputError("max_seconds", repr(seconds)[:100], "a number of seconds above 0", remedy)
    return None if number > _LONGEST_S else number


def _read_parts(path: Path, recording: Recording, findings: Findings, *, name: str) -> Exception | None:
    """Every sound in the file into the recording. Returns what kept the first of those from it that failed."""
    try:
        parts = sound_parts(path)
    except OSError as error:  # a network drive that went away, a disk with a hole
        return error
    failure = None
    for number, (kind, part) in enumerate(parts, 1):
        part = counted(path, part) if kind == "mp3" else part
        findings.notes += [part.note] if part.note else []
        try:
            if kind == "rifx":
                _read_rifx(path, part, recording, name=name)
            else:
                decode_part(path, part, recording, findings, name=name, first=number == 1)
        except Exception as error:  # FFmpeg's errors are many classes, PyAV adds ValueError, UnicodeError and others
            raise_if_ours(error)
            if recording.overfull:
                raise
            if kind == "other" and read_other(path, recording, part):
                continue
            failure = failure or error
            if len(parts) > 1:
                findings.notes.append(f"part {number} of {len(parts)} cannot be read")
        if recording.complete:
            break
    return failure


def _read_rifx(path: Path, part: Part, recording: Recording, *, name: str) -> None:
    """A wav from a big-endian machine, whose sound FFmpeg takes for little-endian."""
    if not read_other(path, recording, part):
        found = f"{shown(path.name)}, a RIFX that cannot be read"
        raise EmoInputError(name, found, _KINDS, "Convert it to another wav.")


def usable(waveform: Waveform, *, name: str = "audio", own: bool = False) -> Waveform:
    """The sound in numbers that the rest works with: samples far above 1 are scaled, unusual rates converted. Both are
    told. `own`: it may be changed where it lies. Raises EmoInputError as `check_waveform`."""
    if waveform.samples.ndim == 2 and 1 <= waveform.samples.shape[0] <= MAX_CHANNELS:
        waveform = _at_usual_rate(_levelled(waveform, name=name, own=own), name)
    check_waveform(waveform, name=name)
    return waveform


def check_waveform(waveform: Waveform, fps: float | None = None, *, name: str = "audio") -> None:
    """EmoInputError unless the sound can be used; `fps` also asks for at least one video frame of it, and is given
    where the sound is about to be used.

    Silent sound is only warned of there: a face that keeps its mouth shut may be what is wanted.
    """
    samples, rate = waveform.samples, waveform.sample_rate
    if samples.ndim != 2:
        raise EmoInputError(name, f"samples of shape {tuple(samples.shape)}", "(channels, t)")
    channels, length = samples.shape
    if not 1 <= channels <= MAX_CHANNELS:
        raise EmoInputError(name, f"{channels} channels", f"1 to {MAX_CHANNELS}", "Mix it down to stereo or mono.")
    if not MIN_RATE <= rate <= MAX_RATE:
        # A file's sound, and the host's, was converted before; others' is not.
        convertible = _SLOWEST <= rate <= _FASTEST
        allowed = f"{MIN_RATE} to {MAX_RATE} Hz" if convertible else f"{_SLOWEST} to {_FASTEST} Hz"
        raise EmoInputError(name, f"{rate} Hz", allowed, "Convert it to 16000 or 48000 Hz.")
    if length == 0:
        raise EmoInputError(name, "no samples", "at least one video frame of sound", "Check that it plays.")
    loudest = peak(samples)
    if not loudest < float("inf"):
        bad = sum(int((~torch.isfinite(piece)).sum()) for piece in samples.split(PIECE, dim=1))
        raise EmoInputError(name, f"{bad} samples that are NaN or infinite", _SAMPLES, "Export it again.")
    if fps is not None:
        check_length(length, rate, fps, name=name)
        _tell_silence(samples, name, loudest)


def _tell_silence(samples: Tensor, name: str, loudest: float | None = None) -> None:
    """A warning for silent sound, unless the last one was of the same."""
    global _silent_sound
    loudest = peak(samples) if loudest is None else loudest
    if loudest >= SILENCE_PEAK or (_silent_sound is not None and _silent_sound() is samples):
        return
    _silent_sound = weakref.ref(samples)
    why = f"its loudest sample is {-20 * math.log10(loudest):.0f} dB below full scale" if loudest else "it is all zeros"
    log.warning("%s: the sound is silent (%s); the mouth will stay shut", name, why)


def check_length(length: int, sample_rate: int, fps: float, *, name: str = "audio") -> None:
    """EmoInputError for a frame rate that is none, or sound shorter than one frame of it."""
    if not 0 < fps <= 240:
        raise EmoInputError("fps", f"{fps}", "more than 0, at most 240 frames per second")
    if length / sample_rate < 1 / fps:
        found = f"{1000 * length / sample_rate:.1f} ms of sound"
        allowed = f"at least one video frame, {1000 / fps:.1f} ms at {fps:g} fps"
        raise EmoInputError(name, found, allowed, "Use more of it.")


def _levelled(waveform: Waveform, *, name: str, own: bool) -> Waveform:
    samples, loudest = waveform.samples, peak(waveform.samples)
    if not _OVERSHOOT < loudest < float("inf"):
        return waveform
    above = sum(int((piece.abs() > 1).sum()) for piece in samples.split(PIECE, dim=1))
    samples = samples if own else samples.clone()
    clicks = min(_CLICKS_S * waveform.sample_rate * samples.shape[0], _CLICKS_MOST * samples.numel())
    if above <= max(_CLICKS * samples.numel(), clicks):
        log.warning("%s: %d samples far above full scale (up to %.6g) are cut off at 1", name, above, loudest)
        return Waveform(samples.clamp_(-1, 1), waveform.sample_rate)
    full = next((scale for scale in _INTEGERS if loudest <= scale), loudest) if loudest > 100 else loudest
    log.warning("%s: samples of up to %.6g, nominally 1, are divided by %.6g", name, loudest, full)
    return Waveform(samples.div_(full), waveform.sample_rate)


def _cut_off_beside(places: list[tuple[float, float]], waveform: Waveform) -> None:
    """Samples beside damaged places, (second, seconds), are cut off at 1 where they lie, if only those are far above:
    they say nothing of the level of the rest."""
    samples, rate = waveform.samples, waveform.sample_rate
    if not places or not peak(samples) > _OVERSHOOT:
        return
    beside = []
    for at_s, seconds in places:
        part = samples[:, max(0, round((at_s - _BESIDE_S) * rate)) : round((at_s + seconds + _BESIDE_S) * rate)]
        beside.append((part, part.clone()))
        part.zero_()
    calm = peak(samples) <= _OVERSHOOT
    for part, was in reversed(beside):
        part.copy_(was.clamp_(-1, 1) if calm else was)


def _at_usual_rate(waveform: Waveform, name: str) -> Waveform:
    rate = waveform.sample_rate
    if _SLOWEST <= rate < MIN_RATE:
        new_rate = _SLOW_RATE
    elif MAX_RATE < rate <= _FASTEST:
        new_rate = _FAST_RATE
    else:
        return waveform
    log.info("%s: converted from %d to %d Hz", name, rate, new_rate)
    return Waveform(_converted(waveform.samples, rate, new_rate), new_rate)


def _converted(samples: Tensor, rate: int, new_rate: int) -> Tensor:
    out: Tensor | None = None
    for index, channel in enumerate(samples):
        converted = resample(channel, rate, new_rate)
        out = silent((len(samples), len(converted)), new_rate) if out is None else out
        out[index] = converted
    assert out is not None
    return out


def _tell(findings: Findings, path: Path, name: str) -> None:
    """One warning for everything of a kind."""
    file = shown(path.name)
    for places, what in ((findings.damaged, "damaged"), (findings.gaps, "without sound, by its timestamps")):
        if places:
            told = ", ".join(f"{at:.2f} s (for {seconds:.2f} s)" for at, seconds in places[:_TOLD])
            more = f" and {len(places) - _TOLD} more" if len(places) > _TOLD else ""
            log.warning("%s: %s is %s at %s%s: silence there", name, file, what, told, more)
    for note in dict.fromkeys(findings.notes[:10]):
        log.warning("%s: %s: %s", name, file, note)


def _shortened(error: Any) -> str:
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return text if len(text) <= 200 else f"{text[:200]} ..."
