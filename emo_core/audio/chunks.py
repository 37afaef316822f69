"""Chunks of wav and aiff files: in, an open file and a place; out, what a chunk is called, and where the next one is.

A chunk is a name of four bytes, the length of what follows, that, and a byte more if that makes it even.
"""

from __future__ import annotations

import re
import struct
from typing import IO

NAME = re.compile(rb"[A-Za-z0-9_ ()\[\]-]{4}")
# Names that occur, for places where four letters could as well be sound.
KNOWN = re.compile(
    rb"data|fmt |fact|LIST|JUNK|junk|PAD |FLLR|bext|iXML|cue |smpl|inst|plst|id3 |ID3 |PEAK|DISP|cart|_PMX|axml|chna"
    rb"|acid|strc|afsp|minf|elm1|regn|umid|note|labl|ltxt|levl|IDIT|MD5 |slnt|ResU"
    rb"|SSND|COMM|NAME|AUTH|ANNO|COMT|MARK|INST|APPL|\(c\) |FVER|MIDI|AESD"
)
_AHEAD = 32  # chunks that are looked at
_REACH = 1 << 24  # bytes before an end in which what is no sound is looked for: a tag with pictures


def chunk(file: IO[bytes], place: int, order: str) -> tuple[bytes, int]:
    """The name and the length; an empty name behind the end. `order` is that of the length's bytes, as of `struct`."""
    file.seek(place)
    header = file.read(8)
    return (header[:4], struct.unpack(f"{order}I", header[4:])[0]) if len(header) == 8 else (b"", 0)


def following(file: IO[bytes], place: int, length: int, order: str) -> int:
    """Where the next chunk begins: the byte that makes one even is often forgotten."""
    end = place + 8 + length
    if length % 2 and KNOWN.fullmatch(chunk(file, end, order)[0]):
        return end
    return end + length % 2


def is_followed(file: IO[bytes], place: int, size: int, *, order: str, sound: bytes) -> bool:
    """Whether nothing but chunks of known names lies from here to one with sound in it."""
    for _ in range(_AHEAD):
        if place + 8 > size:
            break
        name, length = chunk(file, place, order)
        if not KNOWN.fullmatch(name):
            return False
        if name == sound and length:
            return True
        place = following(file, place, length, order)
    return False


def tail(file: IO[bytes], first: int, stop: int, order: str) -> int:
    """Where sound of unknown length, from `first` on, ends: at chunks of known names that end exactly at `stop`."""
    begin = max(first, stop - _REACH)
    file.seek(begin)
    block = file.read(stop - begin)
    seen: set[int] = set()  # what leads nowhere
    for match in KNOWN.finditer(block):
        place = at = begin + match.start()
        while place + 8 <= stop and place not in seen:
            seen.add(place)
            name, length = chunk(file, place, order)
            if not KNOWN.fullmatch(name) or not length:
                break
            place += 8 + length + (length % 2 and place + 8 + length < stop)
        if place == stop:
            return at
    return stop
