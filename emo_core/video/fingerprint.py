"""The hash of an input, by content: the same job is the one whose inputs have the same bytes, whatever their names."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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
        for child in sorted(path.iterdir()):
            _feed(digest, child.name)
            _feed_file(digest, child)
        return
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
