"""Wav files of more than 4 GB (RF64, BW64): in, an open one; out, its part, lengths put right.

The length of the sound stands in a chunk of its own, `ds64`, which a recorder fills in when it ends: one that died has
left 0 or -1 there, and then the sound goes on up to the end.
"""

from __future__ import annotations

import struct
from typing import IO

from .beginnings import begins, behind, next_sound
from .chunks import NAME, chunk, following, tail
from .form import readable_form
from .part import Part

_ANY = 1 << 62  # lengths from here on mean "until the end"
_SOUND_AT = 16  # of `ds64`, behind its name and length: that of the file, then that of the sound


def rf64_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    """The file that begins at 0, and where something else begins; as it is where its chunks cannot be found."""
    place, told_at, told = 12, None, 0
    changes: list[tuple[int, bytes]] = []
    while place + 8 <= size:
        name, length = chunk(file, place, "<")
        file.seek(place)
        if name == b"ds64" and length >= 24:
            told_at = place + _SOUND_AT
            told = struct.unpack_from("<Q", file.read(_SOUND_AT + 8), _SOUND_AT)[0]
        elif name == b"fmt " and length < 1 << 16:
            form = file.read(8 + length)
            usual = readable_form(form)
            changes += [(place, usual)] if len(usual) == len(form) and usual != form else []
        elif name == b"data" or not NAME.fullmatch(name):
            break
        place = following(file, place, length, "<")
    sound_at = place + 8
    if sound_at >= size or chunk(file, place, "<")[0] != b"data" or told_at is None:
        end = next_sound(file, 8, size)
        return [Part(0, end, tuple(changes))], end
    if 0 < told <= size - sound_at:
        end = _chunks_end(file, following(file, place, told, "<"), size)
        return [Part(0, end, tuple(changes))], behind(file, end, size)
    end = next_sound(file, sound_at, size)
    there = tail(file, sound_at, end, "<") - sound_at
    note = f"it ends after {there} of {told} bytes of sound" if 0 < told < _ANY else ""
    return [Part(0, end, (*changes, (told_at, struct.pack("<Q", there))), note)], end


def _chunks_end(file: IO[bytes], place: int, size: int) -> int:
    """Behind the chunks that follow on the sound."""
    while place + 8 <= size and not begins(file, place):
        name, length = chunk(file, place, "<")
        if not NAME.fullmatch(name):
            break
        place = following(file, place, length, "<")
    return min(place, size)
