"""Files that are told apart by what they are made of (pages, elements, boxes, lists): in, an open ogg, matroska, mp4 or
avi file; out, its parts, and where a file of another kind begins, or the end.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import IO

from .beginnings import beginnings, begins, behind, next_sound
from .part import Part

_BLOCK = 1 << 24  # bytes searched at a time
_OVERLAP = 64
_PAGE = b"OggS"
_OGG_FIRST = re.compile(rb"OggS\x00[\x02\x06]", re.DOTALL)  # a page that begins a stream
_EBML = b"\x1aE\xdf\xa3"
_EBML_OR_CLUSTER = re.compile(rb"\x1aE\xdf\xa3.{1,40}?(?:webm|matroska)|\x1f\x43\xb6\x75", re.DOTALL)
_SEGMENT = b"\x18\x53\x80\x67"
_CUT = "it is cut off in the middle of a page"
_TOP = (_SEGMENT, b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b", b"\x12\x54\xc3\x67")  # elements: clusters, cues, tags
_SMALL = (b"\xec", b"\xbf")  # void, checksum
_MANY = 22  # frames up to the end: more than lie one behind the other in a block
_HEAD = 4096  # bytes in which a segment begins


def cut(starts: list[int], size: int) -> list[Part]:
    """The parts of `size` bytes that begin at 0 and at `starts`."""
    return [Part(a, b) for a, b in zip([0, *starts], [*starts, size], strict=True) if b > a]


def matches(
    file: IO[bytes], pattern: re.Pattern[bytes], first: int = 0, *, stop: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """Place and text of every match from `first` on, and before `stop`; a block at a time."""
    position, done = first, first
    while True:
        file.seek(position)
        block = file.read(_BLOCK if stop is None else max(0, min(_BLOCK, stop - position)))
        for match in pattern.finditer(block):
            if position + match.start() >= done:
                done = position + match.end()
                yield position + match.start(), match.group()
        if len(block) < _BLOCK:
            return
        position += _BLOCK - _OVERLAP


def ogg_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    """Streams that play together begin with pages next to each other; a first page elsewhere begins the next link.

    That no page is marked as the last one tells nothing: Android's recorders and live streams mark none. A link is cut
    where its last page, or the packet in it, goes on.
    """
    starts, cuts = [0], []
    place = last = beginning = 0
    stop, whole = size, True  # the last page, and the packet in it
    while place != size:
        file.seek(place)
        page = file.read(27)
        if page[:4] != _PAGE:
            expected = place
            place, is_page = _next_page(file, place, last, size)
            whole &= place >= expected
            if not is_page:
                stop = place
                break
            continue
        lengths = file.read(page[26]) if len(page) == 27 else b""
        end = place + 27 + len(lengths) + sum(lengths) if len(page) == 27 else size + 1
        if len(page) == 27 and page[5] & 2:
            if place > beginning > 0:
                starts.append(place)
                cuts.append(not whole)
            beginning = end
        last, place, whole = place, end, lengths[-1:] != b"\xff"
    cuts.append(not whole)
    parts = cut(starts[1:], stop)
    return [replace(part, note=_CUT * gone) for part, gone in zip(parts, cuts, strict=True)], stop


def _next_page(file: IO[bytes], place: int, last: int, size: int) -> tuple[int, bool]:
    """The next page where none is at `place`, or a file of another kind before it; whether it is a page."""
    found = next((found for found, _ in matches(file, re.compile(_PAGE), last + 1)), size)
    begin = place if place < size and begins(file, place) else next_sound(file, last + 1, found)
    if begin == found < size:
        return found, True
    return (behind(file, place, size) if begin == size and place < size else begin), False


def matroska_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    """Only where the segments are not of known lengths, one behind the other, is the file searched."""
    starts: list[int] = []
    place = _segment_end(file, 0)
    while place is not None and place < size:
        file.seek(place)
        name = file.read(4)
        if name == _EBML:
            starts.append(place)
            place = _segment_end(file, place)
        elif name in _TOP or name[:1] in _SMALL:
            place = None
        else:
            return cut(starts, place), behind(file, place, size)
    if place == size:
        return cut(starts, size), size
    first = next((found for found, _ in matches(file, _EBML_OR_CLUSTER, (starts or [0])[-1] + 4)), size)
    end = next_sound(file, first, size, frames=_MANY)
    return cut(starts, end), end


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
        if length < 8 or place + length > size:  # up to the end, or cut
            end = next(beginnings(file, place + 8, size), size) if complete else size
            return cut(starts, end), end
        place += length
    return cut(starts, size), size


def avi_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    """A list of a known length, and more of them from 1 GB on."""
    place = 0
    while True:
        file.seek(place)
        _, length, kind = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if place and kind != b"AVIX":
            break
        if not length or place + 8 + length > size:
            end = next(beginnings(file, place + 12, size), size)
            note = f"it ends after {end - place - 8} of {length} bytes" if length else ""
            return [Part(0, end, note=note)], end
        place += 8 + length + length % 2
    place = min(place, size)
    return [Part(0, place)], behind(file, place, size)
