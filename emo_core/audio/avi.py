"""The index at the end of an AVI: in, a part of a file; out, where the packets of a track lie, those too that FFmpeg
does not find any more.

An AVI has no clock: FFmpeg counts packets, and says nothing of those whose beginning is damaged, so that everything
behind them would come too early.
"""

from __future__ import annotations

import struct
from pathlib import Path

from .part import Part, PartFile

_LARGEST = 1 << 26  # bytes of an index: four million packets


def packets_of(path: Path, part: Part, track: int) -> list[tuple[int, int]]:
    """(place in the part, bytes) of each packet of the track of this number, in the file's order; empty where the file
    has no index, or one that does not fit."""
    with PartFile(path, part) as file:
        place, frames = 12, None
        while True:
            file.seek(place)
            head = file.read(12)
            if len(head) < 12:
                return []
            kind, length, of = struct.unpack("<4sI4s", head)
            if kind == b"LIST" and of == b"movi":
                frames = place + 8
            if kind == b"idx1":
                break
            place += 8 + length + length % 2
        file.seek(place + 8)
        index = file.read(min(length, _LARGEST) // 16 * 16)
    entries = list(struct.iter_unpack("<4s4xII", index[: len(index) // 16 * 16]))
    if frames is None or not entries:
        return []
    base = frames if entries[0][1] < frames else 0  # places count from there, or from the file's beginning
    number = f"{track:02d}".encode()
    return sorted((base + at + 8, size) for kind, at, size in entries if kind[:2] == number and size)
