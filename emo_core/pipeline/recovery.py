"""What is done when a clip does not fit into memory or comes out as NaN: try once more, then say it plainly."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

from ..errors import EmoInputError
from .placement import dtype_of

if TYPE_CHECKING:
    from ..models.emo import EmoModel

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Thrift:
    """How much is computed at a time in one run; a clip that does not fit makes it smaller for all that follow."""

    one_row_per_pass: bool
    decode_chunk: int


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA says so by type; the CPU and other devices only by message."""
    text = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )


def with_less_memory(action: Callable[[], T], lower: Callable[[], bool], *, knobs: str) -> T:
    """Run `action`; when memory runs out, `lower` what it needs and run it again. Raises EmoInputError with the
    `knobs` a user can turn once `lower` answers False: nothing left to lower."""
    while True:
        try:
            return action()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            said = str(error).split("\n")[0].split(". ")[0] or type(error).__name__
        # Outside the except block: inside it the traceback would still hold the tensors of the failed try.
        if not lower():
            raise EmoInputError("memory", f"too little ({said})", "enough for one clip", knobs)
        log.warning("Out of memory (%s): trying again with less at a time.", said)


def finite_or_repeated(
    model: EmoModel, make: Callable[[EmoModel], torch.Tensor | None], *, what: str
) -> torch.Tensor | None:
    """`make(model)`, repeated with a float32 copy of the model if it holds NaN. Raises EmoInputError if it still does.

    The copy goes right afterwards; the model itself, which a host may be managing, is not touched.
    """
    made = make(model)
    if made is None or bool(torch.isfinite(made).all()):
        return made
    if dtype_of(model.backbone) != torch.float32 or dtype_of(model.vae) != torch.float32:
        log.warning("%s holds NaN in %s: repeating it in float32.", what, dtype_of(model.backbone))
        made = make(copy.deepcopy(model).float())
        if made is None or bool(torch.isfinite(made).all()):
            return made
    remedy = "Lower the guidance, try another scheduler or seed; if it stays, the weights are damaged."
    raise EmoInputError(what, "values that are not numbers (NaN), also in float32", "finite values", remedy)
