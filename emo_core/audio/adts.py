"""Bytes of a raw AAC stream (ADTS) that are in none of its frames: in, a part of a file; out, where they are.

FFmpeg goes on at the next frame and says nothing, so that everything behind a damaged place would come too early.
"""

from __future__ import annotations

from pathlib import Path

from .part import Part, PartFile

_LARGEST = 1 << 28  # bytes of a part that is looked through: days


def lost_bytes(path: Path, part: Part) -> list[tuple[int, int]]:
    """(place in the part, number) of every stretch between two frames that is none; where frames begin is not one."""
    if part.stop - part.start > _LARGEST:
        return []
    with PartFile(path, part) as file:
        data = file.read()
    place = _next(data, 0)
    lost = []
    while place + 7 <= len(data):
        length = frame_length(data, place)
        if length:
            place += length
            continue
        if data[place : place + 3] in (b"ID3", b"TAG"):
            break  # of the next part, or the end
        following = _next(data, place)
        if following < len(data):
            lost.append((place, following - place))
        place = following
    return lost


def frame_length(data: bytes, place: int) -> int:
    """The length of the frame that begins there; 0 if none does."""
    if place + 7 > len(data) or data[place] != 0xFF or data[place + 1] & 0xF6 != 0xF0:
        return 0
    length = (data[place + 3] & 3) << 11 | data[place + 4] << 3 | data[place + 5] >> 5
    return length if length >= 7 else 0


def _next(data: bytes, place: int) -> int:
    """Where the next frame begins that another one follows, or the end."""
    while (place := data.find(b"\xff", place)) >= 0:
        length = frame_length(data, place)
        if length and (place + length >= len(data) or frame_length(data, place + length)):
            return place
        place += 1
    return len(data)
