"""Where sounds begin in a file: in, its path; out, its parts, each to be read as a file of its own.

Text-to-speech services and `cat` put whole mp3, ogg, flac, wav ... files one behind the other, and players play them
all; FFmpeg and libsndfile stop after the first, or take the header of the second for sound. Sizes in headers that
cannot be true are read as "all the rest" (`headers`).
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from .beginnings import beginnings
from .headers import aiff_parts, au_parts, wav_parts
from .part import Part, PartFile

_BLOCK = 1 << 24  # bytes searched at a time
_OVERLAP = 64
_MOST = 2000  # parts
_OGG_FIRST = re.compile(rb"OggS\x00[\x02\x06]", re.DOTALL)  # a page that begins a stream
_EBML_FIRST = re.compile(rb"\x1aE\xdf\xa3.{1,40}?(?:webm|matroska)", re.DOTALL)
_MP3_FIRST = re.compile(rb"ID3[\x02-\x04]..[\x00-\x7f]{4}|Xing|Info|VBRI", re.DOTALL)
# From a frame's header to its Xing mark, by (MPEG-1, mono); VBRI is always behind 36 bytes.
_XING_AT = {(True, False): 36, (True, True): 21, (False, False): 21, (False, True): 13}


def sound_parts(path: Path) -> list[tuple[str, Part]]:
    """The parts of a file in order, each with what kind it is by its first bytes ("wav", "flac", ... or "other")."""
    size = path.stat().st_size
    parts: list[tuple[str, Part]] = []
    start = 0
    while start < size and len(parts) < _MOST:
        with io.BufferedReader(PartFile(path, Part(start, size))) as file:
            kind, found, end = _alike(file, size - start)
        for part in found:
            changes = tuple((place + start, new) for place, new in part.changes)
            moved = replace(part, start=part.start + start, stop=part.stop + start, changes=changes)
            parts.append((kind, moved))
        start += max(1, end)
    if len(parts) > _MOST or start < size:
        kind, last = parts[_MOST - 1]
        parts[_MOST - 1 :] = [(kind, replace(last, note=f"only the first {_MOST} of the sounds in it are heard"))]
    return parts


def _alike(file: IO[bytes], size: int) -> tuple[str, list[Part], int]:
    """The kind of file that comes first, its parts, and where a file of another kind begins, or the end."""
    head = file.read(16)
    for kind, magic, find in _CHUNKED:
        if re.match(magic, head, re.DOTALL):
            return kind, *find(file, size)
    for kind, magic in _PLAIN:
        if re.match(magic, head, re.DOTALL):
            end = next(beginnings(file, 8, size), size)
            return kind, [Part(0, end)], end
    for kind, magic, search in _KINDS:
        if re.match(magic, head, re.DOTALL):
            found, end = search(file, size), size
            if kind == "mp3":
                end = next((place for place in beginnings(file, 8, size) if not _is_tag(file, place)), size)
                found = [replace(part, stop=min(part.stop, end)) for part in found if part.start < end]
            return kind, found, end
    return "other", [Part(0, size)], size


def _is_tag(file: IO[bytes], place: int) -> bool:
    file.seek(place)
    return file.read(3) == b"ID3"


def _cut(starts: list[int], size: int) -> list[Part]:
    return [Part(a, b) for a, b in zip([0, *starts], [*starts, size], strict=True) if b > a]


def _matches(file: IO[bytes], pattern: re.Pattern[bytes], first: int = 0) -> Iterator[tuple[int, bytes]]:
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


def _ogg_parts(file: IO[bytes], size: int) -> list[Part]:
    """Streams that play together begin with pages next to each other; a first page elsewhere begins the next link."""
    starts, end = [], 0
    for place, _ in _matches(file, _OGG_FIRST):
        file.seek(place)
        page = file.read(27)
        if len(page) < 27:
            break
        lengths = file.read(page[26])
        if place > end:
            starts.append(place)
        end = place + 27 + page[26] + sum(lengths)
    return _cut([start for start in starts if start], size)


def _matroska_parts(file: IO[bytes], size: int) -> list[Part]:
    """Only where the whole is not one segment of a known length is all of the file searched."""
    file.seek(0)
    head = file.read(4096)
    segment = head.find(b"\x18\x53\x80\x67")
    if segment >= 0 and len(head) > segment + 12:
        first = head[segment + 4]
        width = 9 - first.bit_length()
        if 1 <= width <= 8:
            body = head[segment + 4 : segment + 4 + width]
            length = int.from_bytes(body, "big") - (1 << 7 * width)
            if segment + 4 + width + length == size:
                return [Part(0, size)]
    return _cut([place for place, _ in _matches(file, _EBML_FIRST, 4)], size)


def _mp4_parts(file: IO[bytes], size: int) -> list[Part]:
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
        complete |= kind == b"moov"
        if length < 8:
            break
        place += length
    return _cut(starts, size)


def _mp3_parts(file: IO[bytes], size: int) -> list[Part]:
    """Parts begin with an ID3v2 tag, or the frame that holds a Xing, Info or VBRI header."""
    starts: list[int] = []
    sound_at = 0  # where the frames of the last part begin
    for place, found in _matches(file, _MP3_FIRST):
        if found.startswith(b"ID3"):
            length = 10 + sum(value << 7 * (3 - index) for index, value in enumerate(found[6:10]))
            if place + length > size:
                continue
            if place > sound_at or not place:
                starts.append(place)
            sound_at = place + length
            continue
        frame = _xing_frame(file, place, found)
        if frame is None or place < sound_at:
            continue
        if frame > sound_at:
            starts.append(frame)
        sound_at = place
    return _cut([start for start in starts if start], size)


def _xing_frame(file: IO[bytes], place: int, mark: bytes) -> int | None:
    """Where the layer III frame begins that has its mark at `place`."""
    reach = min(place, 38)
    file.seek(place - reach)
    before = file.read(reach)
    for distance in (36, 38, 21, 23, 13, 15):  # two more with a checksum
        if distance > reach:
            continue
        first, second, third, fourth = before[reach - distance : reach - distance + 4]
        if first != 0xFF or second & 0xE6 != 0xE2 or third >> 4 == 15 or third & 0x0C == 0x0C:
            continue
        at = 36 if mark == b"VBRI" else _XING_AT[second & 0x18 == 0x18, fourth >> 6 == 3]
        if distance - at in (0, 2):
            return place - distance
    return None


_CHUNKED = (
    ("wav", rb"RIFF....WAVE", wav_parts),
    ("aiff", rb"FORM....AIF[FC]", aiff_parts),
    ("au", rb"\.snd", au_parts),
)
# Of these, what ends one is found by how the next file begins.
_PLAIN = (
    ("rifx", rb"RIFX....WAVE"),
    ("flac", rb"fLaC"),
    ("rf64", rb"(?:RF64|BW64)....WAVE"),
    ("w64", rb"riff\x2e\x91\xcf\x11"),
    ("caf", rb"caff\x00\x01"),
    ("flv", rb"FLV\x01"),
)
_KINDS = (
    ("ogg", rb"OggS", _ogg_parts),
    ("matroska", rb"\x1aE\xdf\xa3", _matroska_parts),
    ("mp4", rb"....(?:ftyp|moov|mdat|wide|free|skip)", _mp4_parts),
    ("mp3", rb"ID3|\xff[\xe0-\xff]", _mp3_parts),
)
