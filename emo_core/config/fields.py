"""Dataclasses from JSON that may say anything: in, a type and plain values; out, the object, or the sentence which
value cannot be.

Types say what is allowed: `Annotated[int, Limits(1, 64)]`, `Annotated[tuple[int, ...], Length(1, 8)]`, a Literal's
choices. A dataclass with a method `problem` says what is wrong with values that are allowed but do not go together.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ..errors import EmoInputError

MAX_STRING, MAX_ITEMS = 200, 256  # where a type says nothing else
REMEDY = "The file is damaged, or of another version of ComfyUI-EMO."


@dataclass(frozen=True)
class Limits:
    """Of a number."""

    low: float
    high: float


@dataclass(frozen=True)
class Length:
    """Of a list."""

    low: int
    high: int


class Problem(NamedTuple):
    """Why values of a dataclass do not go together: which field, what it is, what it would have to be."""

    field: str
    found: str
    allowed: str


def from_plain(kind: Any, data: Any, where: str) -> Any:
    """`data`, as JSON gives it, as a value of the type `kind`. Fields that are not there keep their defaults. `where`
    is what to call the value. Raises EmoInputError for another type, an unknown field or a number that is none."""
    kind, _ = _bare(kind)
    if _is_optional(kind):
        if data is None:
            return None
        kind = next(each for each in typing.get_args(kind) if each is not type(None))
        return from_plain(kind, data, where)
    if dataclasses.is_dataclass(kind):
        return _object(kind, data, where)
    if typing.get_origin(kind) is tuple:
        if not isinstance(data, list) or len(data) > MAX_ITEMS:
            raise _wrong(where, data, f"a list of at most {MAX_ITEMS}")
        return tuple(from_plain(typing.get_args(kind)[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if not isinstance(data, str) or data not in choices:
            raise _wrong(where, data, f"one of {', '.join(map(str, choices))}")
        return data
    return _plain(kind, data, where)


def _object(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise _wrong(where, data, "an object")
    known = hints(kind)
    unknown = sorted(set(data) - set(known))
    if unknown:
        found = f"unknown fields {brief(unknown)}"
        raise EmoInputError(where, found, f"fields among {sorted(known)}", "Update ComfyUI-EMO.")
    return kind(**{name: from_plain(known[name], value, f"{where}.{name}") for name, value in data.items()})


def _plain(kind: type, data: Any, where: str) -> Any:
    """A truth value, a number or a text."""
    if kind is bool:
        if not isinstance(data, bool):
            raise _wrong(where, data, "true or false")
    elif kind is int:
        if not isinstance(data, int) or isinstance(data, bool):
            raise _wrong(where, data, "a whole number")
    elif kind is float:
        if not isinstance(data, int | float) or isinstance(data, bool):
            raise _wrong(where, data, "a number")
        return data
    elif not isinstance(data, str) or len(data) > MAX_STRING or not data.isprintable():
        raise _wrong(where, data, f"a text of at most {MAX_STRING} characters")
    return data


def refuse_impossible(value: Any, where: str) -> None:
    """Raises EmoInputError for numbers outside their limits, lists of a wrong length, and whatever a dataclass inside
    calls a problem; `value` is a dataclass."""
    for name, kind in hints(typing.cast(Hashable, type(value))).items():
        _refuse_outside(kind, getattr(value, name), f"{where}.{name}")
    problem: Problem | None = value.problem() if hasattr(value, "problem") else None
    if problem is not None:
        raise EmoInputError(f"{where}.{problem.field}", problem.found, problem.allowed, REMEDY)


def _refuse_outside(kind: Any, value: Any, where: str) -> None:
    if value is None:
        return
    if dataclasses.is_dataclass(value):
        refuse_impossible(value, where)
        return
    kind, said = _bare(kind)
    if _is_optional(kind):
        _refuse_outside(next(k for k in typing.get_args(kind) if k is not type(None)), value, where)
        return
    if isinstance(value, tuple):
        length = said if isinstance(said, Length) else Length(0, MAX_ITEMS)
        if not length.low <= len(value) <= length.high:
            raise EmoInputError(where, f"{len(value)} values", f"{length.low} to {length.high}", REMEDY)
        for index, item in enumerate(value):
            _refuse_outside(typing.get_args(kind)[0], item, f"{where}[{index}]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        limits = said if isinstance(said, Limits) else Limits(-1e6, 1e6)
        if not limits.low <= value <= limits.high:  # also what is not a number
            raise _wrong(where, value, f"a number from {limits.low:g} to {limits.high:g}")


@functools.cache
def hints(kind: Hashable) -> dict[str, Any]:
    """The fields of a dataclass and their types, with what is annotated."""
    return typing.get_type_hints(typing.cast(Any, kind), include_extras=True)


def brief(value: Any) -> str:
    """A value for a message: never long, never of several lines."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep; a number of more digits than Python writes
        return f"something very large ({type(value).__name__})"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 80 else f"{text[:60]} ... ({len(text)} characters)"


def _wrong(where: str, found: Any, allowed: str) -> EmoInputError:
    return EmoInputError(where, "nothing" if found is None else brief(found), allowed, REMEDY)


def _bare(kind: Any) -> tuple[Any, Any]:
    """A type without its annotation, and the annotation."""
    if typing.get_origin(kind) is typing.Annotated:
        inner, said = typing.get_args(kind)[:2]
        return inner, said
    return kind, None


def _is_optional(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)
