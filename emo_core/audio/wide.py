"""Sounds whose lengths take 64 bits (w64, caf): in, an open file; out, its part, and where something else begins.

A recorder that died leaves 0 or -1: the sound then goes on up to the next file, or up to the end.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import IO

from .beginnings import behind, next_sound
from .part import Part

_ANY = 1 << 62  # lengths from here on mean "until the end"
_MOST = 1000  # chunks
# Sony's names are those of wav, and behind them the same twelve bytes; a length counts its own head, too.
_W64_NAME = re.compile(rb"[a-z ]{4}\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a")
_CAF_NAME = re.compile(rb"desc|data|chan|kuki|pakt|free|info|strg|mark|regn|inst|midi|ovvw|peak|edct|umid|uuid")

# Of a chunk: its name, where what is in it begins, and how long that is.
_Chunk = tuple[bytes, int, int]


def w64_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    """One that begins at 0; every chunk is filled up to a multiple of eight bytes."""
    return _parts(file, size, 40, _w64_chunk, filled=8, told="<Q", head=24)


def caf_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    """One that begins at 0."""
    return _parts(file, size, 8, _caf_chunk, filled=1, told=">Q", head=0)


def _w64_chunk(file: IO[bytes], place: int) -> _Chunk | None:
    file.seek(place)
    head = file.read(24)
    if len(head) < 24 or not _W64_NAME.match(head):
        return None
    length = struct.unpack("<Q", head[16:])[0]
    return head[:4], place + 24, max(0, length - 24)


def _caf_chunk(file: IO[bytes], place: int) -> _Chunk | None:
    file.seek(place)
    head = file.read(12)
    if len(head) < 12 or not _CAF_NAME.match(head):
        return None
    return head[:4], place + 12, struct.unpack(">Q", head[4:])[0]


def _parts(
    file: IO[bytes],
    size: int,
    place: int,
    chunk: Callable[[IO[bytes], int], _Chunk | None],
    *,
    filled: int,
    told: str,
    head: int,
) -> tuple[list[Part], int]:
    """Chunks from `place` on, each filled up to a multiple of so many bytes; `told` is how a length is written, with
    that of its own `head`."""
    has_sound = False
    for _ in range(_MOST):
        found = chunk(file, place)
        if found is None:
            break
        name, first, length = found
        if name == b"data" and not 0 < length <= size - first:
            end = next_sound(file, first, size)
            note = f"it ends after {end - first} of {length} bytes of sound" if 0 < length < _ANY else ""
            return [Part(0, end, ((first - 8, struct.pack(told, end - first + head)),), note)], end
        has_sound |= name == b"data"
        place = min(first + length + -length % filled, size)
    if not has_sound:
        place = end = next_sound(file, 8, size)
    else:
        end = behind(file, place, size)
    return [Part(0, place)], end
