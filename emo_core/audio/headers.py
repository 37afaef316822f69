"""Sounds whose header says how long they are: in, an open wav, aiff or au file; out, its parts, lengths put right.

A length is believed if the file ends there, or if something that has a header of its own follows. Recorders that died
leave 0, programs that write into a pipe 0 or 0xFFFFFFFF, those that passed 4 GB the rest of a division, and careless
ones anything. What is there is then sound up to the end, or up to the next such file.
"""

from __future__ import annotations

import re
import struct
from typing import IO

from .bare import stream_before
from .beginnings import beginnings, begins, behind
from .chunks import KNOWN, NAME, chunk, following, is_followed, tail
from .form import is_plain, readable_form
from .part import Part

_UNKNOWN = b"\xff\xff\xff\xff"
_WAV_FIRST = re.compile(rb"RIFF....WAVE(?:fmt |JUNK|bext|LIST)", re.DOTALL)
_AIFF_FIRST = re.compile(rb"FORM....AIF[FC](?:COMM|FVER|COMT|MARK|NAME)", re.DOTALL)
_AU_FIRST = re.compile(rb"\.snd\x00\x00.{6}\x00\x00\x00[\x01-\x1b]\x00", re.DOTALL)
_LONGEST_FORM = 1 << 16  # bytes of the chunk that says what the sound is made of
_ANY = 0x7FFF0000  # lengths from here on mean "until the end"
_AT_LEAST = 0.1  # of what a length says: less than so much more behind it is no sound


def wav_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    """RIFF files one behind the other, and where something else begins, or the end; sizes are little-endian."""
    parts, start = [], 0
    while start < size:
        found, start = _chunked(file, size, start, order="<", sound=b"data", first=_WAV_FIRST)
        parts += found
        if start < size and not _WAV_FIRST.match(_head(file, start)):
            break
    return parts, start


def aiff_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    """FORM files one behind the other; as RIFF, but big-endian."""
    parts, start = [], 0
    while start < size:
        found, start = _chunked(file, size, start, order=">", sound=b"SSND", first=_AIFF_FIRST)
        parts += found
        if start < size and not _AIFF_FIRST.match(_head(file, start)):
            break
    return parts, start


def au_parts(file: IO[bytes], size: int) -> tuple[list[Part], int]:
    """Files one behind the other: a length, four bytes at 8, is only ever right where it is what there is."""
    parts: list[Part] = []
    start = 0
    while start < size:
        file.seek(start)
        header = file.read(12)
        if header[:4] != b".snd" or len(header) < 12:
            break
        offset, length = struct.unpack(">II", header[4:])
        end = start + offset + length
        is_end = end == size or (length and end < size and begins(file, end))
        stop = end if is_end else _search(file, _AU_FIRST, start + 24, size)
        begin = stream_before(file, start + offset, stop)  # frames, which would be noise
        if is_end and begin == stop:
            parts.append(Part(start, end))
            start = end
            continue
        stop = begin
        short = f"it ends after {max(0, stop - start - offset)} of {length} bytes of sound"
        note = short if start + offset < stop < end and length < _ANY else ""
        parts.append(Part(start, stop, ((start + 8, _UNKNOWN),), note))
        start = stop
    return parts, max(start, 1)


def _head(file: IO[bytes], place: int) -> bytes:
    file.seek(place)
    return file.read(16)


def _chunked(
    file: IO[bytes], size: int, start: int, *, order: str, sound: bytes, first: re.Pattern[bytes]
) -> tuple[list[Part], int]:
    """The parts of the file that begins at `start` (several if its sound is in several chunks), and where the next file
    does."""
    place, frames_at, form, plain = start + 12, None, b"", True
    changes: list[tuple[int, bytes]] = []
    while place + 8 <= size:
        name, length = chunk(file, place, order)
        if name == b"COMM":
            frames_at = place + 10
        if name == b"fmt " and length <= _LONGEST_FORM:
            file.seek(place)
            found = file.read(8 + length)
            usual = readable_form(found) if order == "<" else found
            changes += [(place, usual)] if len(usual) == len(found) and usual != found else []
            plain &= len(usual) == len(found)
            form = usual + bytes(len(usual) % 2)
        if name == sound and (length or not is_followed(file, place + 8, size, order=order, sound=sound)):
            break
        if name in (b"RIFF", b"FORM") or not NAME.fullmatch(name):
            return [Part(start, size)], size  # no sound in it that could be found
        after = following(file, place, length, order)
        plain &= name != sound and after == place + 8 + length + length % 2
        place = after
    else:
        return [Part(start, size)], size
    stop, note = _believed(file, size, place + 8, length=length, order=order), ""
    limit = _search(file, first, place + 8, size) if stop is None else stop
    begin = stream_before(file, place + 8, limit) if is_plain(form) or order == ">" else limit
    if begin < limit:  # frames, which would be noise
        stop, limit = None, begin
    # FFmpeg refuses numbers of frames that cannot be, and does not need them.
    changes += [] if frames_at is None else [(frames_at, bytes(4))]
    if stop is not None:
        next_file, end = _next_file(file, size, stop, order), stop
    else:
        next_file = limit
        end = tail(file, place + 8, next_file, order)
        told = _UNKNOWN if order == "<" else struct.pack(">I", min(end - place - 8, 2**31 - 1))
        whole = struct.pack(f"{order}I", min(end - start - 8, 2**32 - 1))
        note = f"it ends after {end - place - 8} of {length} bytes of sound" if size - place - 8 < length < _ANY else ""
        changes += [(start + 4, whole), (place + 4, told)]
    if order == "<" and not form and stop is not None:
        form, plain = _form_behind(file, stop, next_file), False
    if not plain and order == "<":  # FFmpeg reads an empty chunk as sound, and does not find what is at an odd place
        part = Part(place + 8, end, note=note, head=_wav_head(form, end - place - 8))
    else:
        part = Part(start, next_file if order == ">" and stop is not None else end, tuple(changes), note)
    more = [] if order == ">" or stop is None else _more_sound(file, stop, next_file, form)
    return [part, *more], next_file


def _more_sound(file: IO[bytes], stop: int, end: int, form: bytes) -> list[Part]:
    """The further chunks of a wav file with sound in them; FFmpeg reads the first one only."""
    parts, place = [], stop
    if stop % 2 and not KNOWN.fullmatch(chunk(file, stop, "<")[0]):
        place += 1
    while place + 8 <= end:
        name, length = chunk(file, place, "<")
        if not NAME.fullmatch(name):
            break
        if name == b"data" and length:
            last = min(place + 8 + length, end)
            parts.append(Part(place + 8, last, head=_wav_head(form, last - place - 8)))
        place = following(file, place, length, "<")
    return parts


def _form_behind(file: IO[bytes], stop: int, end: int) -> bytes:
    """The chunk that says what the sound is made of, where it comes behind the sound; nothing if it is not there."""
    place = stop + stop % 2
    while place + 8 <= end:
        name, length = chunk(file, place, "<")
        if name == b"fmt " and length <= _LONGEST_FORM:
            file.seek(place)
            return readable_form(file.read(8 + length))
        if not NAME.fullmatch(name):
            break
        place = following(file, place, length, "<")
    return b""


def _wav_head(form: bytes, length: int) -> bytes:
    """What stands before so many bytes of sound, with nothing in it that is not needed."""
    told = min(length, 2**32 - 1)
    return (
        b"RIFF"
        + struct.pack("<I", min(length + 4 + len(form) + 8, 2**32 - 1))
        + b"WAVE"
        + form
        + (b"data" + struct.pack("<I", told))
    )


def _believed(file: IO[bytes], size: int, place: int, *, length: int, order: str) -> int | None:
    """Where sound of this length ends that begins at `place`; None if it cannot be so long, or so short."""
    end = place + length
    if not length or end > size:
        return None
    for after in (end + length % 2, end):  # the byte that makes it even is often forgotten
        if begins(file, after):
            return end
        name, behind_it = chunk(file, after, order)
        if NAME.fullmatch(name) and after + 8 + behind_it <= size + 1:
            return end
    if size - end < max(64, _AT_LEAST * length):
        return end
    file.seek(end)
    rest = file.read(1 << 16)
    return None if any(rest) and not rest.startswith((b"TAG", b"APETAGEX", b"LYRICSBEGIN")) else end


def _next_file(file: IO[bytes], size: int, end: int, order: str) -> int:
    """Behind the sound and the chunks that follow it: where the next file begins, or the end of all."""
    kind, reached = b"RIFF" if order == "<" else b"FORM", end
    for place in (end + end % 2, end):
        while place + 8 <= size:
            name, length = chunk(file, place, order)
            if name == kind or begins(file, place):
                return place
            cut = place + 8 + length > size + 1 and not KNOWN.fullmatch(name)  # a tag that looks like a chunk
            if cut or not NAME.fullmatch(name):
                break
            place = following(file, place, length, order)
        reached = max(reached, place)
    return behind(file, reached, size)


def _search(file: IO[bytes], pattern: re.Pattern[bytes], place: int, size: int) -> int:
    """Where the next file begins that is found by its first bytes, or the end of all; `pattern` is its own kind's."""
    end = next(beginnings(file, place, size), size)
    while place < end:
        file.seek(place)
        block = file.read(min(1 << 24, end - place))
        if match := pattern.search(block):
            return place + match.start()
        if len(block) < 1 << 24:
            break
        place += len(block) - 64
    return end
