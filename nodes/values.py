"""A value that came through a link, as the input is declared: the host checks the type and the limits of what is typed
alone, and some nodes give anything.

Scalars of numpy and torch, whole numbers as floats and the other way round, and texts that are numbers become what the
declaration says; everything else is told by the input's name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..emo_core.errors import EmoInputError

REMEDY = "See what the node that is linked there gives."


def as_declared(declared: Any, value: Any, *, options: Sequence[str] | None) -> Any:
    """The value for an input of a schema (`io.Int.Input` and the like), where the type of the host's says what it is.
    `options`: of a list to choose from, or None where the node looks the name up itself. Raises EmoInputError."""
    kind, name = str(declared.get_io_type()), declared.id
    if kind == "INT":
        return int(_within(declared, _number(name, value, whole=True)))
    if kind == "FLOAT":
        return float(_within(declared, _number(name, value)))
    if kind == "BOOLEAN":
        return _choice(name, value)
    if kind in ("STRING", "COMBO"):
        text = _text(name, value)
        if options is not None and text not in options:
            raise EmoInputError(name, repr(text[:60]), f"one of {', '.join(options)}")
        return text
    if kind in ("IMAGE", "MASK"):
        return _pixels(name, value, "pictures (b, H, W, 3)" if kind == "IMAGE" else "masks (b, h, w)")
    return value


def number_of(value: Any) -> int | float | None:
    """A number, a scalar or a text that is one, as int or float; None for everything else, and for a bool."""
    value = _plain(value)
    if isinstance(value, str):
        value = _read(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with suppress(OverflowError):  # of a whole number that no float holds
        float(value)
        return int(value) if isinstance(value, int) else float(value)
    return None


def tensor_of(value: Any) -> Tensor | None:
    """A tensor, or an array of numbers as one; None for everything else, also for a tensor whose numbers do not all lie
    in memory."""
    if isinstance(value, np.ndarray):
        with suppress(TypeError, ValueError):  # of texts, objects and the like
            return torch.from_numpy(value.copy())
    return value if isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta else None


def told(value: Any) -> str:
    """A few words for what was found."""
    value = _plain(value)
    if isinstance(value, str | int | float):
        with suppress(ValueError):  # of a whole number with thousands of digits
            return _short(value) if isinstance(value, float) else repr(value)[:60]
    return "nothing" if value is None else f"a value of type {type(value).__name__}"


def _plain(value: Any) -> Any:
    """The one number in a scalar of numpy or torch; everything else, also arrays of several, as it is."""
    item = getattr(value, "item", None)
    if callable(item):
        with suppress(ValueError, RuntimeError, TypeError):
            value = item()
    return str(value) if isinstance(value, str) else value


def _read(text: str) -> int | float | None:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text.replace("_", "?"))  # which Python would leave out
    return None


def _number(name: str, value: Any, *, whole: bool = False) -> int | float:
    number = number_of(value)
    if number is None or not math.isfinite(number) or (whole and number != int(number)):
        allowed = "a whole number" if whole else "a number"
        raise EmoInputError(name, told(value), allowed, REMEDY)
    return number


def _within(declared: Any, number: int | float) -> int | float:
    if declared.min is not None and number < declared.min:
        raise EmoInputError(declared.id, _short(number), f"{_short(declared.min)} or more", REMEDY)
    if declared.max is not None and number > declared.max:
        raise EmoInputError(declared.id, _short(number), f"{_short(declared.max)} or less", REMEDY)
    return number


def _short(number: int | float) -> str:
    return f"{number:.10g}" if isinstance(number, float) else f"{number}"


def _pixels(name: str, value: Any, allowed: str) -> Tensor:
    tensor = tensor_of(value)
    if tensor is None or tensor.ndim < 2:
        found = told(value) if tensor is None else f"a tensor of shape {tuple(tensor.shape)}"
        raise EmoInputError(name, found, allowed, REMEDY)
    return tensor


def _choice(name: str, value: Any) -> bool:
    value = _plain(value)
    number = int(value) if isinstance(value, bool) else number_of(value)
    if number not in (0, 1):
        raise EmoInputError(name, told(value), "true or false", REMEDY)
    return bool(number)


def _text(name: str, value: Any) -> str:
    value = _plain(value)
    number = None if isinstance(value, str) else number_of(value)
    if number is not None and math.isfinite(number):
        return _short(number)
    if not isinstance(value, str):
        raise EmoInputError(name, told(value), "a text", REMEDY)
    return value
