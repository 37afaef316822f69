"""Files that are whole or absent. In: a path. Out: another one to write to, of a name that nobody has, which takes the
path's place at the end. Whether it may is asked before (`owned`)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .files import fitting_name

_UNFINISHED = ".part"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A new empty file beside `path`, which becomes `path` when the block ends, and goes if the block fails. A link at
    `path` is replaced itself, never what it leads to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(fitting_name(path.name, f".{secrets.token_hex(4)}{_UNFINISHED}"))
    part.open("xb").close()  # "x": never what lies there already
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text_whole(path: Path, text: str) -> None:
    """`text` as the file `path`, in UTF-8."""
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")
