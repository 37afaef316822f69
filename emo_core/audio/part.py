"""A part of a file as a file of its own: in, a path and a `Part`; out, something that libraries read from."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Part:
    """Bytes `start` to `stop` of a file, behind those of `head`; `changes` are (place in the file, what is read there
    instead), `note` what a person should know of it."""

    start: int
    stop: int
    changes: tuple[tuple[int, bytes], ...] = ()
    note: str = ""
    head: bytes = b""


class PartFile(io.RawIOBase):
    """Reads a `Part`. Its `name` is all that a library sees of the file's: a name with a colon is taken for a network
    address by FFmpeg, one that is no UTF-8 for an error."""

    def __init__(self, path: Path, part: Part) -> None:
        self._file = path.open("rb")
        self._part = part
        self._place = 0
        suffix = path.suffix.lower()
        self.name = "sound" + (suffix if suffix.isascii() and suffix[1:].isalnum() else "")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        size = len(self._part.head) + self._part.stop - self._part.start
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: size}[whence]
        self._place = min(max(0, base + offset), size)
        return self._place

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        part = self._part
        size = len(part.head) + part.stop - part.start if size is None or size < 0 else size
        head = part.head[self._place : self._place + size]
        self._place += len(head)
        return head + self._read_file(size - len(head)) if len(head) < size else head

    def _read_file(self, size: int) -> bytes:
        place = self._part.start + self._place - len(self._part.head)
        left = max(0, self._part.stop - place)
        self._file.seek(place)
        data = self._file.read(min(size, left))
        for at, new in self._part.changes:
            if at < place + len(data) and at + len(new) > place:
                changed = bytearray(data)
                for index, value in enumerate(new):
                    if 0 <= at + index - place < len(data):
                        changed[at + index - place] = value
                data = bytes(changed)
        self._place += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()
