"""Phones of recorded speech, given its words: forced alignment by pocketsphinx.

In: samples at 16 kHz and the transcript. Out: an `Utterance`. Used to measure on real speech (five LibriVox clips of
the Debian package `pocketsphinx-testdata`, public domain); flite's own times agree with it within 7 ms.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...errors import EmoInputError
from .phones import SILENCE, Phone, canonical
from .speech import SAMPLE_RATE, Samples, Utterance

LIBRIVOX_FOLDER = Path("/usr/share/pocketsphinx/test/data/librivox")
_FRAME_S = 0.01


def align(samples: Samples, text: str, voice: str = "real") -> Utterance:
    """The phones of `samples` (t,) float32 at 16 kHz, of which `text` are the words, lower case."""
    from pocketsphinx import Decoder

    decoder = Decoder(lm=None, bestpath=False, loglevel="FATAL")
    decoder.set_align_text(text)
    sound = (samples.clip(-1, 1) * 32767).astype(np.int16).tobytes()
    for detail in ("words", "phones"):
        if detail == "phones":
            decoder.set_alignment()
        decoder.start_utt()
        decoder.process_raw(sound, full_utt=True)
        decoder.end_utt()
        if detail == "words" and decoder.hyp() is None:  # asked after the second pass, pocketsphinx crashes
            raise EmoInputError("transcript", f"no alignment of {text!r}", "the words that are spoken")
    phones = []
    for word in decoder.get_alignment():
        for phone in word:
            start = phone.start * _FRAME_S
            phones.append(Phone(canonical(phone.name), start, start + phone.duration * _FRAME_S))
    return Utterance(samples, _without_gaps(phones, len(samples) / SAMPLE_RATE), voice, text)


def librivox_clips(folder: Path = LIBRIVOX_FOLDER) -> list[Utterance]:
    """The five aligned clips, or none where the Debian package is missing."""
    import soundfile

    if not (folder / "transcription").is_file():
        return []
    clips = []
    for line in (folder / "transcription").read_text().splitlines():
        match = re.fullmatch(r"<s> (.*) </s> \((\S+)\)", line.strip())
        if match is None:
            continue
        samples, sample_rate = soundfile.read(folder / f"{match[2]}.wav", dtype="float32")
        if sample_rate != SAMPLE_RATE:
            raise EmoInputError(match[2], f"{sample_rate} Hz", f"{SAMPLE_RATE} Hz")
        clips.append(align(samples, match[1]))
    return clips


def _without_gaps(phones: list[Phone], duration_s: float) -> tuple[Phone, ...]:
    """The same phones with silence wherever none stands."""
    out: list[Phone] = []
    now = 0.0
    for phone in [*phones, Phone(SILENCE, duration_s, duration_s)]:
        if phone.start_s > now + 1e-6:
            out.append(Phone(SILENCE, now, phone.start_s))
        if phone.end_s > phone.start_s:
            out.append(phone)
        now = max(now, phone.end_s)
    return tuple(out)
