"""What a mask lies over, as the nodes ask for it: its size says so, or the user does."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..emo_core.face.mask import Over
from . import schema

OVER: dict[str, Over] = {"auto": "auto", "picture": "picture", "square": "crop"}
_SQUARE = "emo_lies_over_square"  # an attribute of the masks that EMO Face Mask makes, kept until they are changed


def mask_over_input() -> Any:
    return schema.make_input(
        io.Combo,
        "mask_over",
        options=list(OVER),
        default="auto",
        optional=True,
        tooltip="What the mask lies over: the whole picture, or the square that was cut from it. auto: its size and "
        "shape say so, and if both are possible you are asked to choose.",
    )


def transparency_input(tooltip: str) -> Any:
    return schema.make_input(io.Mask, "transparency", optional=True, tooltip=tooltip)


def of_square(mask: Tensor) -> Tensor:
    """The mask, known to lie over the square as long as it goes from node to node unchanged."""
    setattr(mask, _SQUARE, True)
    return mask


def lies_over(mask: Tensor | None, mask_over: str) -> Over:
    """What the user chose, or is known of the mask."""
    return "crop" if mask_over == "auto" and getattr(mask, _SQUARE, False) else OVER[mask_over]
