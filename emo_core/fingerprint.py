"""The hash of an input, by content: the same job is the one whose inputs have the same bytes, whatever their names."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .files import is_file_or_folder, is_folder

_AT_ONCE = 1 << 20  # numbers of a tensor


def fingerprint(value: object) -> str:
    """SHA-256 of a file or folder (`Path`), a tensor, a number, a text, or a record, list or mapping of these."""
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: object) -> None:
    digest.update(type(value).__name__.encode() + b"\0" if not isinstance(value, Path) else b"file\0")
    if isinstance(value, Path):
        _feed_file(digest, value)
    elif isinstance(value, Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        _feed_numbers(digest, value.detach())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            _feed(digest, field.name)
            _feed(digest, getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key in sorted(value):
            _feed(digest, key)
            _feed(digest, value[key])
    elif isinstance(value, list | tuple):
        digest.update(f"{len(value)}".encode())
        for item in value:
            _feed(digest, item)
    elif value is None or isinstance(value, str | int | float | bool):
        digest.update(repr(value).encode() + b"\0")
    else:
        raise TypeError(f"no fingerprint for {type(value).__name__}")


def _feed_numbers(digest: Any, tensor: Tensor) -> None:
    """The bytes of a tensor in the order of its indices; of a large one never all of them at once."""
    if tensor.numel() <= _AT_ONCE:
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    elif len(tensor) == 1:
        _feed_numbers(digest, tensor[0])
    else:
        for part in tensor.split(max(1, len(tensor) * _AT_ONCE // tensor.numel())):
            _feed_numbers(digest, part)


def _feed_file(digest: Any, path: Path) -> None:
    if path.is_dir():
        _feed_folder(digest, path, set())
        return
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)


def _feed_folder(digest: Any, folder: Path, seen: set[tuple[int, int]]) -> None:
    """Every file of a folder and of those in it, each folder once. Of what nobody can read (links to nothing and to
    themselves, pipes, what is closed) the name alone: no model was loaded from it."""
    state = folder.stat()
    if (state.st_dev, state.st_ino) in seen:
        return
    seen.add((state.st_dev, state.st_ino))
    for child in sorted(folder.iterdir()):
        _feed(digest, child.name)
        with contextlib.suppress(OSError):
            if is_folder(child):
                _feed_folder(digest, child, seen)
            elif is_file_or_folder(child):
                _feed_file(digest, child)
