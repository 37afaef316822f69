"""Sounds whose header says how long they are: in, an open wav, aiff or au file; out, its parts, lengths put right.

A length is believed if the file ends there, or if something that has a header of its own follows. Recorders that died
leave 0, programs that write into a pipe 0 or 0xFFFFFFFF, those that passed 4 GB the rest of a division, and careless
ones anything. What is there is then sound up to the end, or up to the next such file.
"""

from __future__ import annotations

import re
import struct
from typing import IO

from .part import Part

_UNKNOWN = b"\xff\xff\xff\xff"
_WAV_FIRST = re.compile(rb"RIFF....WAVE(?:fmt |JUNK|bext|LIST)", re.DOTALL)
_AIFF_FIRST = re.compile(rb"FORM....AIF[FC](?:COMM|FVER|COMT|MARK|NAME)", re.DOTALL)
_AU_FIRST = re.compile(rb"\.snd\x00\x00.{6}\x00\x00\x00[\x01-\x1b]\x00", re.DOTALL)
_NAME = re.compile(rb"[A-Za-z0-9_ ()\[\]-]{4}")  # of a chunk
_ANY = 0x7FFF0000  # lengths from here on mean "until the end"
_AT_LEAST = 0.1  # of what a length says: less than so much more behind it is no sound


def wav_parts(file: IO[bytes], size: int) -> list[Part]:
    """RIFF files one behind the other; chunks are (name, little-endian size, bytes)."""
    parts, start = [], 0
    while start < size:
        part, start = _chunked(file, size, start, order="<", sound=b"data", first=_WAV_FIRST)
        parts.append(part)
    return parts


def aiff_parts(file: IO[bytes], size: int) -> list[Part]:
    """FORM files one behind the other; as RIFF, but big-endian."""
    parts, start = [], 0
    while start < size:
        part, start = _chunked(file, size, start, order=">", sound=b"SSND", first=_AIFF_FIRST)
        parts.append(part)
    return parts


def au_parts(file: IO[bytes], size: int) -> list[Part]:
    """Files one behind the other: a length, four bytes at 8, is only ever right where it is what there is."""
    parts: list[Part] = []
    start = 0
    while start < size:
        file.seek(start)
        header = file.read(12)
        offset, length = struct.unpack(">II", header[4:]) if len(header) == 12 else (0, 0)
        if start + offset + length == size:
            return [*parts, Part(start, size)]
        stop = _search(file, _AU_FIRST, start + 24, size)
        parts.append(Part(start, stop, ((start + 8, _UNKNOWN),)))
        start = stop
    return parts


def _chunked(
    file: IO[bytes], size: int, start: int, *, order: str, sound: bytes, first: re.Pattern[bytes]
) -> tuple[Part, int]:
    """The part that begins at `start`, and where the next one does."""
    place, frames_at = start + 12, None
    while place + 8 <= size:
        name, length = _chunk(file, place, order)
        if name == b"COMM":
            frames_at = place + 10
        if name == sound:
            break
        if name in (b"RIFF", b"FORM") or not _NAME.fullmatch(name):
            return Part(start, size), size  # no sound in it that could be found
        place += 8 + length + length % 2
    else:
        return Part(start, size), size
    stop = _believed(file, size, place + 8, length=length, order=order)
    # FFmpeg refuses numbers of frames that cannot be, and does not need them.
    changes = [] if frames_at is None else [(frames_at, bytes(4))]
    if stop is not None:
        following = _next_file(file, size, stop, order)
        return Part(start, following, tuple(changes)), following
    stop = _search(file, first, place + 8, size)
    told = _UNKNOWN if order == "<" else struct.pack(">I", min(stop - place - 8, 2**31 - 1))
    whole = struct.pack(f"{order}I", min(stop - start - 8, 2**32 - 1))
    note = f"it ends after {stop - place - 8} of {length} bytes of sound" if size - place - 8 < length < _ANY else ""
    return Part(start, stop, (*changes, (start + 4, whole), (place + 4, told)), note), stop


def _chunk(file: IO[bytes], place: int, order: str) -> tuple[bytes, int]:
    file.seek(place)
    header = file.read(8)
    return (header[:4], struct.unpack(f"{order}I", header[4:])[0]) if len(header) == 8 else (b"", 0)


def _believed(file: IO[bytes], size: int, place: int, *, length: int, order: str) -> int | None:
    """Where sound of this length ends that begins at `place`; None if it cannot be so long, or so short."""
    end = place + length
    if not length or end > size:
        return None
    for after in (end + length % 2, end):  # the byte that makes it even is often forgotten
        name, following = _chunk(file, after, order)
        if _NAME.fullmatch(name) and after + 8 + following <= size + 1:
            return end
    if size - end < max(64, _AT_LEAST * length):
        return end
    file.seek(end)
    behind = file.read(1 << 16)
    return None if any(behind) else end


def _next_file(file: IO[bytes], size: int, end: int, order: str) -> int:
    """Behind the sound and the chunks that follow it: where the next file begins, or the end of all."""
    kind = b"RIFF" if order == "<" else b"FORM"
    for place in (end + end % 2, end):
        while place + 8 <= size:
            name, length = _chunk(file, place, order)
            if name == kind:
                return place
            if not _NAME.fullmatch(name):
                break
            place += 8 + length + length % 2
    return size


def _search(file: IO[bytes], pattern: re.Pattern[bytes], place: int, size: int) -> int:
    """Where the next file begins that is found by its first bytes, or the end of all."""
    while place < size:
        file.seek(place)
        block = file.read(1 << 24)
        if match := pattern.search(block):
            return place + match.start()
        if len(block) < 1 << 24:
            break
        place += len(block) - 64
    return size
