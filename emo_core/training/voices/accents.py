"""Speech from espeak-ng, for an audio encoder that knows more people than flite has: eight accents of English, each
with some fifty throats, and the exact time of every phone.

In: a sentence, a voice and a `Manner`. Out: an `Utterance`, as `speech.synthesise` gives it. espeak-ng (Debian package
`espeak-ng`) speaks by rule, less like a person than flite does, but no two of its voices place their formants alike.
Its library is called, for its program tells no times.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...errors import EmoInputError
from .phones import SILENCE, Phone
from .speech import Manner, Samples, Utterance, as_utterance

ACCENTS = (
    "gmw/en-US", "gmw/en", "gmw/en-GB-scotland", "gmw/en-GB-x-rp", "gmw/en-GB-x-gbclan", "gmw/en-GB-x-gbcwmd",
    "gmw/en-029", "gmw/en-US-nyc",
)  # fmt: skip
THROATS = (
    "f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "klatt", "klatt2", "klatt3", "klatt4",
    "klatt5", "klatt6", "croak", "whisper", "whisperf", "adam", "anika", "announcer", "antonio", "aunty", "belinda",
    "benjamin", "boris", "caleb", "david", "ed", "edward", "grandma", "grandpa", "gustave", "iven", "john",
    "kaukovalta", "linda", "max", "michel", "miguel", "norbert", "pablo", "paul", "quincy", "rob", "robert", "sandro",
    "shelby", "steph", "travis", "victor", "zac",
)  # fmt: skip
_SILENT = "_"  # what espeak-ng's names of pauses begin with
_PHONES = {
    "@": "ax", "@2": "ax", "@5": "ax", "a#": "ax", "3": "er", "3:": "er", "IR": "er", "VR": "er", "a": "ae", "aa": "ae",
    "A:": "aa", "A@": "aa", "0": "aa", "V": "ah", "E": "eh", "e@": "eh", "eI": "ey", "I": "ih", "I2": "ih", "I#": "ih",
    "i@": "ih", "i@3": "ih", "i": "iy", "i:": "iy", "O:": "ao", "O@": "ao", "o@": "ao", "O2": "ao", "O": "ao",
    "oU": "ow", "OI": "oy", "U": "uh", "U@": "uh", "u:": "uw", "aU": "aw", "aU@": "aw", "aI": "ay", "aI2": "ay",
    "aI3": "ay", "aI@": "ay", "@L": "l", "l": "l", "l^": "l", "r": "r", "r-": "r", "n": "n", "n-": "n", "N": "ng",
    "m": "m", "w": "w", "w#": "w", "j": "y", "t[": "t", "t#": "t", "t": "t", "tS": "ch", "dZ": "jh", "D": "dh",
    "T": "th", "S": "sh", "Z": "zh", "f": "f", "v": "v", "s": "s", "z": "z", "h": "hh", "?": "hh", "x": "k", "b": "b",
    "d": "d", "g": "g", "k": "k", "p": "p",
}  # fmt: skip
_WORDS_PER_MINUTE = 165.0
_SYNCHRONOUS, _PHONE_EVENTS, _NEVER_EXIT = 2, 0x1, 0x8000
_END, _PHONE_EVENT = 0, 7  # kinds of events
_RATE, _PITCH, _RANGE = 1, 3, 4  # parameters
_UTF8, _END_PAUSE = 0x1, 0x1000


class _Name(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """speak_lib.h's espeak_EVENT."""

    _fields_ = (
        ("kind", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _Name),
    )  # fmt: skip


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Library:
    """espeak-ng's library, begun once a process."""

    def __init__(self, name: str) -> None:
        self.sounds: list[np.ndarray[Any, np.dtype[np.int16]]] = []
        self.starts: list[tuple[str, int]] = []
        self.lib = ctypes.CDLL(name)
        self.rate = int(self.lib.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONE_EVENTS | _NEVER_EXIT))
        if self.rate <= 0:
            raise EmoInputError("espeak-ng", "a library without its data", "one that speaks", "Install it again.")
        self.callback = _Callback(self._heard)  # kept: the library calls it for as long as it lives
        self.lib.espeak_SetSynthCallback(self.callback)

    def _heard(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self.sounds.append(np.ctypeslib.as_array(samples, (count,)).copy())
        at = 0
        while events[at].kind != _END:
            if events[at].kind == _PHONE_EVENT:
                self.starts.append((events[at].id.string.decode("utf-8", "replace"), int(events[at].sample)))
            at += 1
        return 0

    def speak(self, text: str, voice: str, parameters: dict[int, int]) -> tuple[Samples, list[tuple[str, int]]]:
        """Samples at `rate`, and each phone's name with the sample it begins at."""
        if self.lib.espeak_SetVoiceByName(voice.encode()):
            remedy = "Versions differ in the names of accents: 1.51 has those of ACCENTS."
            raise EmoInputError("voice", repr(voice), "an accent of espeak-ng with one of its variants", remedy)
        for parameter, value in parameters.items():
            self.lib.espeak_SetParameter(parameter, value, 0)
        self.sounds.clear()
        self.starts.clear()
        words = text.encode()
        self.lib.espeak_Synth(words, len(words) + 1, 0, 1, 0, _UTF8 | _END_PAUSE, None, None)
        samples = np.concatenate(self.sounds or [np.zeros(0, np.int16)]).astype(np.float32) / 32768.0
        return samples, list(self.starts)


@lru_cache(maxsize=1)
def _library() -> _Library | None:
    name = ctypes.util.find_library("espeak-ng")
    return _Library(name) if name else None


def can_speak() -> bool:
    """Whether espeak-ng's library is on this machine."""
    return _library() is not None


def synthesise(text: str, voice: str, manner: Manner | None = None) -> Utterance:
    """Speak `text` as `voice`, `accent+throat` of ACCENTS and THROATS. EmoInputError if espeak-ng is not installed,
    or has no such voice."""
    library, manner = _library(), manner or Manner()
    if library is None:
        found = "no library of that name"
        raise EmoInputError("espeak-ng", found, "libespeak-ng", "Install it: apt-get install espeak-ng.")
    speed = round(_WORDS_PER_MINUTE / (manner.stretch * manner.tract))
    pitch = round(float(np.clip(50 * manner.pitch, 0, 99)))
    samples, starts = library.speak(text, voice, {_RATE: speed, _PITCH: pitch, _RANGE: 50})
    phones = _timed(starts, len(samples), library.rate)
    return as_utterance(samples, library.rate * manner.tract, phones, native=library.rate, voice=voice, text=text)


def _timed(starts: Sequence[tuple[str, int]], count: int, rate: int) -> list[Phone]:
    """Phones from where they begin; what has no name of ours (a glide's tail, a stop's puff) belongs to the one
    before."""
    phones: list[Phone] = []
    for name, start in starts:
        label = SILENCE if name.startswith(_SILENT) else _PHONES.get(name)
        if label is None:
            continue
        at = min(start, count) / rate
        if phones:
            phones[-1] = phones[-1]._replace(end_s=at)
        phones.append(Phone(label, at if phones else 0.0, count / rate))
    return phones
