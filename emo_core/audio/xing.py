"""The number of frames that an mp3 says it has, put right: in, a part of a file; out, the part with what is there.

FFmpeg cuts the encoder's padding off where this number says that the end is, even in the middle of a sentence.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

from .part import Part, PartFile

_REACH = 1 << 12  # bytes from the beginning of the frames in which the header lies
_HAS_FRAMES = 1  # of its flags
_FEWER = 20  # frames, half a second: so many that are missing are worth telling


def counted(path: Path, part: Part) -> Part:
    """`part` with the right number in its Xing or Info header, if there is one that is too small; one that is much too
    large is told."""
    import av

    with PartFile(path, part) as file:
        place = _header(file)
        if place is None:
            return part
        file.seek(place)
        flags, told = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
        if not flags & _HAS_FRAMES:
            return part
        file.seek(0)
        try:
            with av.open(file, "r", metadata_errors="replace") as container:
                there = sum(packet.size > 0 for packet in container.demux(container.streams.audio[0]))
        except Exception:  # what a damaged file is worth shows when it is decoded
            return part
    if told >= there:  # cut short: there is no padding to cut off
        alone = part.start == 0 and part.stop == path.stat().st_size  # of a joined file it may count all
        note = f"it ends after {there} of {told} frames" if alone and told - there > _FEWER else part.note
        return replace(part, note=note)
    return replace(part, changes=(*part.changes, (part.start + place + 4, struct.pack(">I", there))))


def _header(file: Any) -> int | None:
    """Where the flags are, behind an ID3v2 tag and the mark."""
    head = file.read(10)
    first = 0
    if head[:3] == b"ID3" and len(head) == 10:
        first = 10 + sum((value & 0x7F) << 7 * (3 - index) for index, value in enumerate(head[6:]))
    file.seek(first)
    block = file.read(_REACH)
    places = [place for place in (block.find(b"Xing"), block.find(b"Info")) if place >= 0]
    return first + min(places) + 4 if places else None
