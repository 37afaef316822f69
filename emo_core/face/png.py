"""A PNG without what is not pixels: in, an open file; out, a file to be read in its stead, and what its colours mean.

Pillow refuses a whole picture for a text in it that is long once unpacked (ComfyUI's own pictures hold workflows of
megabytes), for a large profile, and for a wrong checksum of what nobody asked for. Its limits are the process's, and so
not ours to change: what is not needed is left out of what it sees. Nothing is copied.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from typing import IO

from .spaces import Said

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED = (b"tRNS", b"eXIf")  # beside the critical ones, whose names begin with a capital
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_UPRIGHT = (b"Raw profile type exif", b"XML:com.adobe.xmp")  # texts that may say which side is up
_TEXT_BYTES = 2**19  # of such a text, unpacked; Pillow takes twice as much
_COLOURS = (b"iCCP", b"cICP", b"sRGB", b"gAMA", b"cHRM")
_PROFILE_BYTES = 2**24  # unpacked; those of printers have two or three MB


def without_extras(file: IO[bytes]) -> tuple[IO[bytes], Said]:
    """The same picture, of what is needed to show it; and what it says of its colours, its profile only if that can be
    unpacked."""
    ranges, colours, place = [(0, len(SIGNATURE))], {}, len(SIGNATURE)
    end = file.seek(0, io.SEEK_END)
    kind = b""
    while kind != b"IEND" and place < end:
        file.seek(place)
        head = file.read(8)
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (end, b"")
        after = place + 12 + length
        if after > end:  # cut short: Pillow says what it makes of the rest
            _append(ranges, place, end)
            break
        if kind in _COLOURS:
            colours[kind] = file.read(length)
        elif kind[:1].isupper() or kind in _NEEDED or (kind in _TEXTS and _is_short(kind, file, length)):
            _append(ranges, place, after)
        place = after
    return io.BufferedReader(_Ranges(file, ranges)), _said(colours)


def _said(colours: dict[bytes, bytes]) -> Said:
    """What the chunks mean; sRGB counts before gAMA and cHRM (PNG's third edition, 4.3)."""
    profile = _profile(colours[b"iCCP"]) if b"iCCP" in colours else None
    numbers, gamma, places = (colours.get(name, b"") for name in (b"cICP", b"gAMA", b"cHRM"))
    said = Said(profile, (numbers[0], numbers[1]) if len(numbers) == 4 else None)
    if b"sRGB" in colours:
        return said
    if len(gamma) == 4:
        said = replace(said, power=struct.unpack(">I", gamma)[0] / 100000)
    if len(places) == 32:
        values = [value / 100000 for value in struct.unpack(">8I", places)]
        white, red, green, blue = zip(values[::2], values[1::2], strict=True)
        said = replace(said, primaries=(red, green, blue), white=white)
    return said


def _append(ranges: list[tuple[int, int]], first: int, last: int) -> None:
    """Thousands of parts of one picture follow on each other, and become one range."""
    if ranges[-1][1] == first:
        first = ranges.pop()[0]
    ranges.append((first, last))


def _profile(data: bytes) -> bytes | None:
    unpacking = zlib.decompressobj()
    try:
        profile = unpacking.decompress(data[data.index(b"\0") + 2 :], _PROFILE_BYTES)
    except (ValueError, zlib.error):
        return None
    return None if unpacking.unconsumed_tail else profile


def _is_short(kind: bytes, file: IO[bytes], length: int) -> bool:
    """Whether a text is one of those that may say which side is up, and no longer than Pillow takes it."""
    name, _, rest = file.read(min(length, _TEXT_BYTES)).partition(b"\0")
    if name not in _UPRIGHT or length >= _TEXT_BYTES:
        return False
    if kind == b"tEXt" or (kind == b"iTXt" and rest[:1] == b"\0"):
        return True
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(rest[1:] if kind == b"zTXt" else rest[2:].split(b"\0", 2)[2], _TEXT_BYTES)
    except (IndexError, zlib.error):
        return False
    return not unpacking.unconsumed_tail


class _Ranges(io.RawIOBase):
    """Parts of a file, one after the other, as a file."""

    def __init__(self, file: IO[bytes], ranges: list[tuple[int, int]]) -> None:
        self._file, self._place, self._length = file, 0, 0
        self._parts: list[tuple[int, int, int]] = []  # where it begins and ends here, where it begins there
        for first, last in ranges:
            self._parts.append((self._length, self._length + last - first, first))
            self._length += last - first

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._length}[whence])
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        for begin, end, first in self._parts:
            if begin <= self._place < end:
                self._file.seek(first + self._place - begin)
                data = self._file.read(min(len(buffer), end - self._place))
                buffer[: len(data)] = data
                self._place += len(data)
                return len(data)
        return 0
