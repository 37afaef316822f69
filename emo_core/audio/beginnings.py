"""Where files of sound begin in another: in, an open file; out, places, of kinds whose first bytes cannot be chance.

What follows a file is otherwise heard as noise, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

from .bare import is_bare, stream_before, untagged

_LONGEST = 64  # bytes that tell
# Bytes with the bit of WavPack's first block of several that belong together.
_INITIAL = b"[" + b"".join(b"\\x%02x-\\x%02x" % (first, first + 7) for first in range(8, 256, 16)) + b"]"
_FIRST = re.compile(
    rb"RIF[FX]....WAVE(?:fmt |JUNK|bext|LIST)"
    rb"|RIFF....AVI LIST"
    rb"|(?:RF64|BW64)....WAVE"
    rb"|riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"  # w64
    rb"|FORM....AIF[FC](?:COMM|FVER|COMT|MARK|NAME)"
    rb"|caff\x00\x01\x00\x00desc"
    rb"|fLaC[\x00\x80]\x00\x00\x22"
    rb"|OggS\x00\x02\x00{8}"
    rb"|FLV\x01[\x01\x04\x05]\x00\x00\x00\x09\x00{4}"
    rb"|\x00\x00\x00[\x10-\x40]ftyp[a-zA-Z0-9 ]{4}"
    rb"|ID3[\x02-\x04]\x00[\x00-\xf0][\x00-\x7f]{4}(?:T[A-Z0-9]{3}|COMM|APIC|PRIV|GEOB|UFID|WXXX)\x00"  # mp3
    rb"|\.snd\x00\x00.{6}\x00\x00\x00[\x01-\x1b]\x00"  # au
    rb"|\x1aE\xdf\xa3.{1,40}?(?:webm|matroska)"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"  # asf
    rb"|wvpk.{4}[\x02-\x10]\x04.{6}\x00{4}.{5}" + _INITIAL + rb"|TTA1[\x01-\x03]\x00[\x01-\x08]\x00"
    rb"|#!AMR(?:-WB)?\n"
    rb"|\x00\x00\x01\xba(?:[\x44-\x7f].{8}[\xf8-\xff]|[\x21-\x2f].{7})\x00\x00\x01\xbb"  # MPEG-PS
    rb"|nut/multimedia container\x00"
    rb"|Creative Voice File\x1a|NIST_1A\n|FORM....(?:8SVX|16SV)|PVF1\n|MATLAB 5\.0 MAT-file",
    re.DOTALL,
)
_TAGGED = re.compile(rb"ID3[\x02-\x04][\x00-\x01][\x00-\xf0][\x00-\x7f]{4}")  # mp3; in the middle it may be chance
_BEFORE = 24  # bytes before a tag, in which the name of a chunk that holds it is
# Bytes to search for, quicker than the whole, and how far from the beginning they are.
_MARKS = (
    (b"WAVE", 8),
    (b"AVI LIST", 8),
    (b"riff\x2e", 0),
    (b"AIF", 8),
    (b"caff\x00", 0),
    (b"fLaC", 0),
    (b"OggS\x00\x02", 0),
    (b"FLV\x01", 0),
    (b"ftyp", 4),
    (b"ID3", 0),
    (b".snd\x00\x00", 0),
    (b"\x1aE\xdf\xa3", 0),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 0),
    (b"wvpk", 0),
    (b"TTA1", 0),
    (b"#!AMR", 0),
    (b"\x00\x00\x01\xba", 0),
    (b"nut/m", 0),
    (b"Creative V", 0),
    (b"NIST_1A", 0),
    (b"8SVX", 8),
    (b"16SV", 8),
    (b"PVF1\n", 0),
    (b"MATLAB 5", 0),
)
_BLOCKS = (1 << 12, 1 << 24)  # bytes searched at a time: few at first, the next one is often near
_LARGEST = 1 << 30  # bytes that are searched, at most
_WORTH = 4096  # bytes behind a sound: of fewer nothing is said, whatever they are


def begins(file: IO[bytes], place: int) -> bool:
    """Whether a file of sound begins exactly there."""
    file.seek(place)
    head = file.read(_LONGEST)
    return bool(_FIRST.match(head) or _TAGGED.match(head)) or is_bare(file, place)


def beginnings(file: IO[bytes], first: int, size: int) -> Iterator[int]:
    """Places from `first` on at which one begins, in order."""
    size, count = min(size, first + _LARGEST), _BLOCKS[0]
    while first < size:
        before = min(first, _BEFORE)
        file.seek(first - before)
        block = file.read(min(before + count + _LONGEST, size - first + before))
        places = {place for mark, back in _MARKS for place in _found(block, mark, back)}
        for place in sorted(places):
            in_chunk = block.startswith(b"ID3", place) and b"id3 " in block[max(0, place - _BEFORE) : place].lower()
            if before <= place < before + count and not in_chunk and _FIRST.match(block, place):
                yield first - before + place
        first += count
        count = min(2 * count, _BLOCKS[1])


def is_tag(file: IO[bytes], place: int) -> bool:
    file.seek(place)
    return file.read(3) == b"ID3"


def next_sound(file: IO[bytes], first: int, size: int, *, frames: int = 4) -> int:
    """Where a file, or at least so many frames up to the next one or to the end, begins; the end of all if none does.
    For what does not tell where it ends itself."""
    return stream_before(file, first, next(beginnings(file, first, size), size), least=frames)


def behind(file: IO[bytes], place: int, size: int) -> int:
    """Where something begins behind a sound that ends at `place`: the next one, or what is none that is known, but too
    much to be passed over; the end of all where there is neither."""
    if place >= size or begins(file, place):
        return min(place, size)
    following = next_sound(file, place, size)
    return place if following == size and untagged(file, place, size) - place >= _WORTH else following


def _found(block: bytes, mark: bytes, back: int) -> Iterator[int]:
    place = block.find(mark)
    while place >= 0:
        if place >= back:
            yield place - back
        place = block.find(mark, place + 1)
