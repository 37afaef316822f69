"""The phones: one alphabet (flite's, lower-case ARPAbet) for synthesis, alignment and the encoder's targets."""

from __future__ import annotations

from typing import NamedTuple

VOWELS = ("aa", "ae", "ah", "ao", "aw", "ax", "ay", "eh", "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw")
BILABIALS = ("b", "m", "p")
VOICED_CONSONANTS = ("b", "d", "dh", "g", "jh", "l", "m", "n", "ng", "r", "v", "w", "y", "z", "zh")
VOICELESS = ("ch", "f", "hh", "k", "p", "s", "sh", "t", "th")
SILENCE = "pau"
PHONES = (SILENCE, *VOWELS, *VOICED_CONSONANTS, *VOICELESS)
PHONE_INDEX = {label: index for index, label in enumerate(PHONES)}
VOICED = frozenset(VOWELS + VOICED_CONSONANTS)

# What pocketsphinx's dictionary and other synthesisers call the same thing.
_ALIASES = {"sil": SILENCE, "<sil>": SILENCE, "h#": SILENCE, "+spn+": SILENCE, "+nsn+": SILENCE, "axr": "er", "el": "l"}


class Phone(NamedTuple):
    """One phone and when it sounds, in seconds from the start of the recording."""

    label: str
    start_s: float
    end_s: float


def canonical(label: str) -> str:
    """Our name for a phone of flite or pocketsphinx; KeyError for one that neither has."""
    name = label.lower().rstrip("012")
    name = _ALIASES.get(name, name)
    PHONE_INDEX[name]
    return name
