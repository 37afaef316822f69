"""Which colour space an AVIF file names by numbers (ISO 23091-2): in, an open file; out, primaries and transfer.

Pillow hands on a profile and no numbers. They stand in a box that belongs to the main picture; a thumbnail or a gain
map beside it may have others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

_META_BYTES = 2**20


def colour_numbers(file: IO[bytes]) -> tuple[int, int] | None:
    """Colour primaries and transfer function of the main picture; None where none are said, or for no such file."""
    try:
        meta = _meta(file)
        boxes = dict(_boxes(meta, 4))
        shared = dict(_boxes(boxes[b"iprp"]))
        properties = list(_boxes(shared[b"ipco"]))
        for index in _properties_of(_main_item(boxes[b"pitm"]), shared[b"ipma"]):
            kind, data = properties[index - 1]
            if kind == b"colr" and data[:4] == b"nclx":
                primaries, transfer = struct.unpack_from(">HH", data, 4)
                return primaries, transfer
    except (KeyError, IndexError, struct.error):  # damaged: the decoder tells what of the rest can be used
        pass
    return None


def _meta(file: IO[bytes]) -> bytes:
    """What is in the box `meta` of a file."""
    place, kind, length = 0, b"", 0
    while kind != b"meta":
        file.seek(place)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length < 8:  # 0: to the end; 1: longer than 4 GB. Neither comes before `meta`
            raise IndexError("no box")
        place += length
    return file.read(min(length - 8, _META_BYTES))


def _boxes(data: bytes, start: int = 0) -> Iterator[tuple[bytes, bytes]]:
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        if length < 8:
            return
        yield kind, data[start + 8 : start + length]
        start += length


def _main_item(data: bytes) -> int:
    item: int = struct.unpack_from(">I" if data[0] else ">H", data, 4)[0]
    return item


def _properties_of(item: int, data: bytes) -> list[int]:
    """The numbers, from 1, of the properties that the box `ipma` gives an item."""
    version, wide = data[0], data[3] & 1
    place = 8
    for _ in range(struct.unpack_from(">I", data, 4)[0]):
        found = struct.unpack_from(">I" if version else ">H", data, place)[0]
        place += 4 if version else 2
        count, place = data[place], place + 1
        form, mask = (f">{count}H", 0x7FFF) if wide else (f">{count}B", 0x7F)
        if found == item:
            return [index & mask for index in struct.unpack_from(form, data, place)]
        place += struct.calcsize(form)
    return []
