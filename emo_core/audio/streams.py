"""Files that are frames one behind the other (mp3, ADTS, AC-3, MPEG-TS): in, an open one; out, where a sound of another
kind begins behind them.

What is damaged is passed over, up to the next frames.
"""

from __future__ import annotations

from typing import IO

from .bare import REACH, SYNC, Stream, stream_at, untagged
from .beginnings import beginnings, behind, is_tag

_BLOCK = 1 << 22  # bytes that are read at a time


def stream_end(file: IO[bytes], first: int, size: int) -> int:
    """The end of all where nothing else begins. Tags as of mp3 are no beginning."""
    view = _View(file, size)
    kind, place = _next_stream(view, first, size)
    last = first - 1
    while kind is not None:
        end, last, tag = _walked(view, kind, place, size)
        if end == size:
            return size
        behind_tags = _behind_tags(view, end, size)
        start = behind_tags if behind_tags > end else last + 1
        found, place = _next_stream(view, start, size)
        begin = _file_between(file, start, place)
        if begin < place or found not in (kind, None):
            return tag if begin == end else begin
        if found is kind and untagged(file, end, place, zeros=False) <= end:
            return place  # a sound with its tags, and the next one
        if found is None:
            return behind(file, min(end, size), size)
    return _file_between(file, first, size)


def _file_between(file: IO[bytes], first: int, stop: int) -> int:
    return next((place for place in beginnings(file, first, stop) if not is_tag(file, place)), stop)


class _View:
    """A file of which blocks are held in memory."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size
        self.first, self.data = 0, b""

    def at(self, place: int) -> tuple[bytes, int]:
        """Data with `REACH` bytes or all that are left behind a place, and where in them it is."""
        stop = self.first + len(self.data)
        if not self.first <= place or (place + REACH > stop and stop < self._size):
            self._file.seek(place)
            self.first, self.data = place, self._file.read(min(_BLOCK, self._size - place))
        return self.data, place - self.first


def _walked(view: _View, kind: Stream, place: int, size: int) -> tuple[int, int, int]:
    """Where a frame is expected that is none, where the last one begins, and where the tag as of mp3 begins that is
    between them, or the same place."""
    last, tag = place, -1
    while place < size:
        data, at = view.at(place)
        stop = len(data) - (REACH if view.first + len(data) < size else 0)
        while at <= stop:
            if length := kind.length_of(data, at):
                last, tag, at = view.first + at, -1, at + length
            elif data[at : at + 3] == b"ID3" and 0 < (length := _tag_length(data, at)) <= size - view.first - at:
                tag = view.first + at if tag < 0 else tag
                at += length
            else:
                break
        place = view.first + at
        if at <= stop:
            break
    return place, last, tag if tag >= 0 else place


def _behind_tags(view: _View, place: int, size: int) -> int:
    while place < size:
        length = _tag_length(*view.at(place))
        if not 0 < length <= size - place:
            break
        place += length
    return place


def _tag_length(data: bytes, at: int) -> int:
    """Bytes of the tag that begins there, in which pictures look like files; 0 if none does."""
    head = data[at : at + 16]
    if head[:3] == b"ID3" and len(head) == 16:
        return 10 + sum((value & 0x7F) << 7 * (3 - index) for index, value in enumerate(head[6:10]))
    if head[:8] == b"APETAGEX" and len(head) == 16:
        return 32 + int.from_bytes(head[12:], "little")
    return 128 if head[:3] == b"TAG" else 0


def _next_stream(view: _View, place: int, size: int) -> tuple[Stream | None, int]:
    """The next kind of stream, and where it begins; the end if none does."""
    while place < size:
        data, at = view.at(place)
        stop = len(data) - (REACH if view.first + len(data) < size else 0)
        for match in SYNC.finditer(data, at):
            if match.start() > stop:
                break
            kind = stream_at(data, match.start())
            if kind is not None:
                return kind, view.first + match.start()
        place = view.first + max(stop, at) + 1
    return None, size
