"""Nodes of another pack, as tests need them beside ours: what other packs do, in a few lines each."""

from __future__ import annotations

from typing import Any


class Always:
    """Asks to be run every time, as hundreds of nodes do: the host then writes NaN into the prompt."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("FLOAT",), "go", "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": ("FLOAT", {"default": 0.4, "min": -100.0, "max": 100.0})}}

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:
        return float("nan")

    def go(self, value: float) -> tuple[float]:
        return (value,)


class AsList:
    """Up to three of anything as a list: the host runs what follows once for each."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_IS_LIST = ("*",), "go", "test", (True,)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"one": ("*",)}, "optional": {"two": ("*",), "three": ("*",)}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types: dict[str, str]) -> bool:
        return True

    def go(self, **given: Any) -> tuple[list[Any]]:
        return ([given[name] for name in ("one", "two", "three") if name in given],)


class Number:
    """Gives any number at all."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("FLOAT",), "go", "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"said": ("STRING", {"default": "NaN"})}}

    def go(self, said: str) -> tuple[float]:
        return (float(said),)


class Nothing:
    """Gives None where something is promised."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("*",), "go", "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}}

    def go(self) -> tuple[None]:
        return (None,)


class AnyType(str):
    """Equal to every type, the way packs have it."""

    def __ne__(self, other: object) -> bool:
        return False


for kind in (AsList, Nothing):
    kind.RETURN_TYPES = (AnyType("*"),)

NODE_CLASS_MAPPINGS = {"TestAlways": Always, "TestAsList": AsList, "TestNothing": Nothing, "TestNumber": Number}
