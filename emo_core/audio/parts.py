"""Where sounds begin in a file: in, its path; out, its parts, each to be read as a file of its own.

Text-to-speech services and `cat` put whole mp3, ogg, flac, wav ... files one behind the other, and players play them
all; FFmpeg and libsndfile stop after the first, or take the header of the second for sound. Sizes in headers that
cannot be true are read as "all the rest" (`headers`).
"""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import IO

from .bare import untagged
from .beginnings import begins, next_sound
from .containers import avi_parts, cut, matches, matroska_parts, mp4_parts, ogg_parts
from .headers import aiff_parts, au_parts, wav_parts
from .part import Part, PartFile
from .rf64 import rf64_parts
from .streams import stream_end
from .wide import caf_parts, w64_parts

_MOST = 2000  # parts
_HEAD = 192  # bytes that tell a kind
_MANY = 22  # frames up to the end: more than lie one behind the other inside a file of a kind that is not known here
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
            unknown = kind == "other" and bool(parts) and not begins(file, 0)
        if unknown:
            found, (_, before) = [], parts[-1]
            told = f"{end} bytes behind its sound are of no kind that is known, and are not heard"
            parts[-1] = parts[-1][0], replace(before, note="; ".join(filter(None, (before.note, told))))
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
    head = file.read(_HEAD)
    for kind, magic, find in _KINDS:
        if re.match(magic, head, re.DOTALL):
            return kind, *find(file, size)
    for kind, magic in _PLAIN:
        if re.match(magic, head, re.DOTALL):
            end = next_sound(file, _metadata_end(file), size)
            return kind, [Part(0, end)], end
    end = next_sound(file, len(head), size, frames=_MANY)
    return "other", [Part(0, end)], end


def _metadata_end(file: IO[bytes]) -> int:
    """Behind the tag or the blocks that a file begins with, in which pictures look like files."""
    file.seek(0)
    head, place = file.read(10), 4
    if head.startswith(b"ID3") and len(head) == 10:
        return 10 + sum((value & 0x7F) << 7 * (3 - index) for index, value in enumerate(head[6:]))
    block = head[4:8] if head.startswith(b"fLaC") else b""
    while len(block) == 4:
        place += 4 + int.from_bytes(block[1:], "big")
        file.seek(place)
        block = b"" if block[0] & 0x80 else file.read(4)
    return max(8, place)


def _frames_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    end = stream_end(file, 0, size)
    return [Part(0, untagged(file, 1, end, zeros=False))], end


def _mp3_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    """Parts begin with an ID3v2 tag, or the frame that holds a Xing, Info or VBRI header. A tag alone is none."""
    first = _metadata_end(file)
    end = stream_end(file, first, size)
    starts: list[int] = []
    sound_at = 0  # where the frames of the last part begin
    for place, found in matches(file, _MP3_FIRST, stop=end):
        if found.startswith(b"ID3"):
            length = 10 + sum(value << 7 * (3 - index) for index, value in enumerate(found[6:10]))
            if place + length > end:
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
    if sound_at == end < size and starts == [0]:
        return [], end
    stop = untagged(file, sound_at + 1, end, zeros=False)
    return cut([start for start in starts if start and start < end], stop), end


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


_KINDS = (
    ("wav", rb"RIFF....WAVE", wav_parts),
    ("aiff", rb"FORM....AIF[FC]", aiff_parts),
    ("au", rb"\.snd", au_parts),
    ("w64", rb"riff\x2e\x91\xcf\x11", w64_parts),
    ("caf", rb"caff\x00\x01", caf_parts),
    ("rf64", rb"(?:RF64|BW64)....WAVE", rf64_parts),
    ("avi", rb"RIFF....AVI ", avi_parts),
    ("ogg", rb"OggS", ogg_parts),
    ("matroska", rb"\x1aE\xdf\xa3", matroska_parts),
    ("mp4", rb"....(?:ftyp|moov|mdat|wide|free|skip)", mp4_parts),
    ("mp3", rb"ID3|\xff[\xe0-\xff]", _mp3_parts),
    ("frames", rb"\x0b\x77|G.{187}G", _frames_parts),
)
# Of these, what ends one is found by how the next file begins.
_PLAIN = (
    ("rifx", rb"RIFX....WAVE"),
    ("flac", rb"fLaC"),
    ("flv", rb"FLV\x01"),
)
