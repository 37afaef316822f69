"""Files that are told apart by what they are made of (pages, elements, boxes): in, an open ogg, matroska or mp4 file;
out, its parts, and where a file of another kind begins, or the end.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import IO

from .beginnings import begins
from .part import Part

_BLOCK = 1 << 24  # bytes searched at a time
_OVERLAP = 64
_PAGE = b"OggS"
_OGG_FIRST = re.compile(rb"OggS\x00[\x02\x06]", re.DOTALL)  # a page that begins a stream
_EBML = b"\x1aE\xdf\xa3"
_EBML_FIRST = re.compile(rb"\x1aE\xdf\xa3.{1,40}?(?:webm|matroska)", re.DOTALL)
_SEGMENT = b"\x18\x53\x80\x67"
_HEAD = 4096  # bytes in which a segment begins


def cut(starts: list[int], size: int) -> list[Part]:
    """The parts of `size` bytes that begin at 0 and at `starts`."""
    return [Part(a, b) for a, b in zip([0, *starts], [*starts, size], strict=True) if b > a]


def matches(file: IO[bytes], pattern: re.Pattern[bytes], first: int = 0) -> Iterator[tuple[int, bytes]]:
    """Place and text of every match from `first` on; a block at a time."""
    position, done = first, first
    while True:
        file.seek(position)
        block = file.read(_BLOCK)
        for match in pattern.finditer(block):
            if position + match.start() >= done:
                done = position + match.end()
                yield position + match.start(), match.group()
        if len(block) < _BLOCK:
            return
        position += _BLOCK - _OVERLAP


def ogg_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    """Streams that play together begin with pages next to each other; a first page elsewhere begins the next link."""
    stop = _pages_end(file, size)
    starts, end = [], 0
    for place, _ in matches(file, _OGG_FIRST):
        if place >= stop:
            break
        file.seek(place)
        page = file.read(27)
        if len(page) < 27:
            break
        lengths = file.read(page[26])
        if place > end:
            starts.append(place)
        end = place + 27 + page[26] + sum(lengths)
    return cut([start for start in starts if start], stop), stop


def _pages_end(file: IO[bytes], size: int) -> int:
    """Where something else begins behind a page; the end if nothing does. What is damaged is passed over."""
    place = 0
    while place + 27 <= size:
        file.seek(place)
        page = file.read(27)
        if page[:4] == _PAGE:
            place += 27 + page[26] + sum(file.read(page[26]))
        elif begins(file, place):
            return place
        else:
            place = next((found for found, _ in matches(file, re.compile(_PAGE), place)), size)
    return size


def matroska_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    """Only where the segments are not of known lengths, one behind the other, is all of the file searched."""
    starts: list[int] = []
    place = _segment_end(file, 0)
    while place is not None and place < size:
        file.seek(place)
        if file.read(4) == _EBML:
            starts.append(place)
            place = _segment_end(file, place)
        elif begins(file, place):
            return cut(starts, place), place
        else:
            place = None
    if place == size:
        return cut(starts, size), size
    return cut([place for place, _ in matches(file, _EBML_FIRST, 4)], size), size


def _segment_end(file: IO[bytes], place: int) -> int | None:
    """Behind the segment of the file that begins there; None where its length is not known."""
    file.seek(place)
    head = file.read(_HEAD)
    segment = head.find(_SEGMENT)
    if segment < 0 or len(head) <= segment + 12:
        return None
    width = 9 - head[segment + 4].bit_length()
    body = head[segment + 4 : segment + 4 + width]
    if not 1 <= width <= 8 or int.from_bytes(body, "big") == (1 << 7 * width + 1) - 1:
        return None
    return place + segment + 4 + width + int.from_bytes(body, "big") - (1 << 7 * width)


def mp4_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    """A second `ftyp` behind a `moov` begins another file; boxes are walked, not searched."""
    starts, place, complete = [], 0, False
    while place + 8 <= size:
        file.seek(place)
        header = file.read(16)
        length, kind = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        if kind == b"ftyp" and complete:
            starts.append(place)
            complete = False
        elif complete and begins(file, place):
            return cut(starts, place), place
        complete |= kind == b"moov"
        if length < 8:
            break
        place += length
    return cut(starts, size), size
