"""Streams of frames without a file around them (mp3, ADTS): in, an open file and a place; out, whether one begins.

A single header may be chance; several, each where the one before ends, are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from .adts import frame_length as adts_length

_FRAMES = 4  # one behind the other, or up to the end of the file ...
_LEAST = 2  # ... but not fewer
_LONGEST = 1 << 13  # bytes of a frame
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


def is_bare(file: IO[bytes], place: int) -> bool:
    """Whether frames of mp3 or ADTS follow on each other from there on."""
    file.seek(place)
    if file.read(1) != b"\xff":
        return False
    file.seek(place)
    data = file.read(_FRAMES * _LONGEST)
    return any(_follow(data, length_of) for length_of in (_mpeg_length, adts_length))


def _follow(data: bytes, length_of: Callable[[bytes, int], int]) -> bool:
    at, count = 0, 0
    while count < _FRAMES and at < len(data):
        length = length_of(data, at)
        if not length:
            return False
        at, count = at + length, count + 1
    return count >= _LEAST


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
