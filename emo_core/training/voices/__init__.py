"""Voices whose every phone is known: synthesised speech, song and silence, and the mouth that belongs to them.

In: a seed and a number of minutes. Out: sound at 16 kHz, the phones with their times, and what the mouth does in the
words of the 52 ARKit actions. Training data for the audio encoder and the talking heads (issue 2, section 4); nothing
here is needed to generate a video.
"""

from .corpus import VoiceCorpus, VoiceRecord, build_corpus
from .phones import PHONES, Phone
from .speech import Utterance, synthesise
from .visemes import MOUTH_ACTIONS, loudness_track, mouth_track

__all__ = [
    "MOUTH_ACTIONS",
    "PHONES",
    "Phone",
    "Utterance",
    "VoiceCorpus",
    "VoiceRecord",
    "build_corpus",
    "loudness_track",
    "mouth_track",
    "synthesise",
]
