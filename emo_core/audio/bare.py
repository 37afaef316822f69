"""Streams of frames without a file around them (mp3, ADTS, AC-3, MPEG-TS): in, an open file and a place; out, whether
one begins there, or where one begins that goes up to an end.

A single header may be chance; several, each where the one before ends, are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from .adts import frame_length as adts_length

_FRAMES = 4  # one behind the other, or up to the end of the file ...
_LEAST = 2  # ... but not fewer
_PACKETS = 8  # of MPEG-TS, whose header is a single byte
REACH = 1 << 16  # bytes in which so many frames are
_BLOCK = 1 << 22  # bytes searched at a time
_PACKET = 188  # bytes
# kbit/s by (MPEG-1, layer) and index (ISO 11172-3 table 2.4.2.3, 13818-3), and Hz of MPEG-1, halved for each later one.
_KBITS = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HERTZ = (44_100, 48_000, 32_000)
# kbit/s of AC-3 by half its index (ATSC A/52, table 5.18), whose frame is always 1536 samples, and its Hz.
_AC3_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_AC3_HERTZ = (48_000, 44_100, 32_000)


@dataclass(frozen=True)
class Stream:
    """A kind of frame: what it begins with, its length in bytes (0 where none begins), the bits that all
    begin with alike, and how many are no chance."""

    sync: re.Pattern[bytes]
    length_of: Callable[[bytes, int], int]
    fixed: int = 0
    many: int = _FRAMES

    def count(self, data: bytes, place: int) -> tuple[int, int]:
        """How many frames, up to `many`, follow on each other from there, and where the last one ends."""
        first, count = place, 0
        while count < self.many and place < len(data):
            length = self.length_of(data, place)
            if not length or (self._head(data, place) ^ self._head(data, first)) & self.fixed:
                break
            place, count = place + length, count + 1
        # Sound that repeats itself may have its byte at every place; packets count on.
        if self.many == _PACKETS and count > 1 and len({data[at : at + 4] for at in range(first, place, _PACKET)}) == 1:
            return 0, first
        return count, place

    @staticmethod
    def _head(data: bytes, place: int) -> int:
        return int.from_bytes(data[place : place + 4], "big")

    def begins(self, data: bytes, place: int) -> bool:
        """Whether frames follow on each other from there; `data` is all there is, or at least `REACH` more."""
        count, end = self.count(data, place)
        return count >= self.many or (count >= _LEAST and end >= len(data))

    def reaches_end(self, data: bytes, place: int, least: int) -> bool:
        """Whether `least` frames or more follow on each other up to the end of the data."""
        total, count = 0, 1
        while count and place < len(data):
            count, place = self.count(data, place)
            total += count
            if count < self.many:
                break
        return place >= len(data) and total >= least


def stream_at(data: bytes, place: int) -> Stream | None:
    """The kind of stream that begins there."""
    return next((kind for kind in _STREAMS if kind.sync.match(data, place) and kind.begins(data, place)), None)


def is_bare(file: IO[bytes], place: int) -> bool:
    """Whether frames follow on each other from there on."""
    file.seek(place)
    if file.read(1) not in (b"\xff", b"\x0b", b"G"):
        return False
    file.seek(place)
    return stream_at(file.read(REACH), 0) is not None


def stream_before(file: IO[bytes], first: int, end: int, *, least: int = _FRAMES) -> int:
    """Where a stream of at least so many frames begins that goes up to `end`, or up to the tags there, and not before
    `first`; `end` if there is none. Of several one behind the other, the first."""
    begin = end
    while (found := _last_before(file, first, begin, least)) < begin:
        begin = found
    return begin


def untagged(file: IO[bytes], first: int, end: int, *, zeros: bool = True) -> int:
    """Where the tags (ID3v1, APE, Lyrics3), and the zeros, begin that a file ends with."""
    while first < end:
        file.seek(max(first, end - REACH))
        data = file.read(min(REACH, end - first))
        length = _tag_length(data) or zeros * (len(data) - len(data.rstrip(b"\0")))
        if not length:
            break
        end -= length
    return max(first, end)


def _tag_length(data: bytes) -> int:
    """Bytes of the tag that ends where the data does; 0 if none does."""
    if data[-128:-125] == b"TAG":
        return 128
    if data[-32:-24] == b"APETAGEX":
        return int.from_bytes(data[-20:-16], "little") + 32 * (data[-9] >> 7)  # a header is not counted
    if data.endswith(b"LYRICS200") and data[-15:-9].isdigit():
        return int(data[-15:-9]) + 15
    return 0


def _last_before(file: IO[bytes], first: int, end: int, least: int) -> int:
    stop = untagged(file, first, end)
    begin = max(first, stop - REACH)
    file.seek(begin)
    data = file.read(stop - begin)
    for kind in _STREAMS:
        for match in kind.sync.finditer(data):
            if kind.reaches_end(data, match.start(), max(least, kind.many)):
                found = _first_of(file, kind, first, begin + match.start())
                return found if found > first else end
    return end


def _first_of(file: IO[bytes], kind: Stream, first: int, known: int) -> int:
    """Where frames of this kind begin; that they do at `known` is known."""
    while first < known:
        file.seek(first)
        block = file.read(_BLOCK + REACH)
        for match in kind.sync.finditer(block, 0, min(_BLOCK, known - first) + 1):
            if kind.count(block, match.start())[0] == kind.many:
                return first + match.start()
        first += _BLOCK
    return known


def _mpeg_length(data: bytes, place: int) -> int:
    """Bytes of the MPEG audio frame that begins there; 0 if none does."""
    header = data[place : place + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)  # version 3: MPEG-1, 2: MPEG-2, 0: "2.5"
    kbits, hertz, pad = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or kbits in (0, 15) or hertz == 3:
        return 0
    rate = _HERTZ[hertz] >> (3 - version if version else 2)
    bits = 1000 * _KBITS[version == 3, layer][kbits]
    if layer == 1:
        return 4 * (12 * bits // rate + pad)
    return (72 if layer == 3 and version != 3 else 144) * bits // rate + pad


def _ac3_length(data: bytes, place: int) -> int:
    """Bytes of the AC-3 or E-AC-3 frame that begins there; 0 if none does."""
    header = data[place : place + 6]
    if len(header) < 6 or header[:2] != b"\x0bw":
        return 0
    version, code, index = header[5] >> 3, header[4] >> 6, header[4] & 0x3F
    if 10 < version <= 16:
        return 2 * ((header[2] & 7) << 8 | header[3]) + 2
    if version > 10 or code == 3 or index >= 2 * len(_AC3_KBITS):
        return 0
    words = 96_000 * _AC3_KBITS[index >> 1] // _AC3_HERTZ[code]
    return 2 * (words + (index & 1 if code == 1 else 0))


def _packet_length(data: bytes, place: int) -> int:
    """188 where a packet of MPEG-TS begins that is not damaged; 0 if none does."""
    header = data[place : place + 4]
    return _PACKET if len(header) == 4 and header[0] == 0x47 and header[1] < 0x80 and header[3] & 0x30 else 0


# Only the first byte is taken, so that none that begins with the second is passed over.
_STREAMS = (
    Stream(re.compile(rb"\xff(?=[\xe2-\xe7\xf2-\xf7\xfa-\xff])"), _mpeg_length, 0xFFFE0C00),
    Stream(re.compile(rb"\xff(?=[\xf0\xf1\xf8\xf9])"), adts_length, 0xFFFFFFF0),
    Stream(re.compile(rb"\x0b(?=w)"), _ac3_length),
    Stream(
        re.compile(rb"G(?=[\x00-\x7f].[^\x00-\x0f\x40-\x4f\x80-\x8f\xc0-\xcf])", re.S), _packet_length, many=_PACKETS
    ),
)
SYNC = re.compile(b"|".join(kind.sync.pattern for kind in _STREAMS), re.DOTALL)  # of any kind
