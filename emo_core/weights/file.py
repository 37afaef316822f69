"""Models on disk: in, "emo-mini" or a path; out, an EmoModel. The door to reading and writing them.

A model is one `.safetensors` or a folder of them in EMO's own form (`saved`, `save`), or a released one (`released`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..config import EmoConfig
from ..errors import EmoInputError
from .build import assign, build_without_memory, suitable_dtype, without_memory, working_device
from .kinds import recognise, refuse_bare
from .locate import bundled_models, resolve
from .read import refuse_nan
from .released import gather, read_released
from .save import save_model, save_tensors
from .saved import read_checkpoint, saved_here

if TYPE_CHECKING:
    from ..models.emo import EmoModel

__all__ = [
    "assign",
    "build_without_memory",
    "bundled_models",
    "load_model",
    "read_checkpoint",
    "read_whole",
    "resolve",
    "save_model",
    "save_tensors",
    "saved_here",
    "suitable_dtype",
    "without_memory",
    "working_device",
]


def load_model(
    name: str | Path,
    family: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    *,
    config: EmoConfig | None = None,
    home: torch.device | None = None,
    default_dtype: torch.dtype | None = None,
) -> EmoModel:
    """A model ready for inference (eval, no gradients) from a bundled name, a file or a folder of safetensors.

    `device` defaults to CUDA where there is one; `dtype` to `default_dtype`, and that to float32 on the CPU and to the
    file's elsewhere; float16 is no default for a model that does not fit into it. `config` is for files that carry
    none. `home`: where the weights lie instead, until the work brings them to `device` (`pipeline.offload`). Raises
    EmoInputError for a missing, damaged or wrong file, naming what is wrong.
    """
    path = resolve(name)
    tensors, stored = read_whole(path, family) if config is None else read_checkpoint(path)
    if stored is not None:
        stored.refuse_mismatch()
    config = stored or config
    if config is None:
        raise _unknown_checkpoint(path, tensors)
    if family is not None and family != config.family:
        raise EmoInputError("family", repr(family), f"{config.family!r}, which {path.name} says it is")
    device = working_device(device)
    if dtype is None:
        stored_or_safe = torch.float32 if device.type == "cpu" else _stored_dtype(tensors)
        dtype = suitable_dtype(config, default_dtype or stored_or_safe)
    refuse_nan(tensors, path, dtype)
    model = build_without_memory(config)
    assign(model, tensors, device=device if home is None else home, dtype=dtype, where=path.name)
    return model


def read_whole(path: Path, family: str | None) -> tuple[dict[str, Tensor], EmoConfig | None]:
    """A model as EMO saved it, or a released one with all that belongs to it (see `released`)."""
    if saved_here(path):
        return read_checkpoint(path)
    gathered = gather(path, family)
    if gathered is not None:
        return read_released(gathered)
    return read_checkpoint(path)[0], None


def _stored_dtype(tensors: dict[str, Tensor]) -> torch.dtype:
    """The type to compute in: that of the file, if it is one."""
    stored = next((t.dtype for t in tensors.values() if t.is_floating_point()), torch.float32)
    return stored if stored in (torch.float32, torch.float16, torch.bfloat16) else torch.float32


def _unknown_checkpoint(path: Path, tensors: dict[str, Tensor]) -> EmoInputError:
    kind = recognise(tensors)
    refuse_bare(kind, path)
    found = f"{path.name}, which is no whole model of EMO's own form and looks like {kind.description}"
    allowed = "a model saved by EMO, or the released files of Hallo, EchoMimic or V-Express"
    return EmoInputError(
        "model", found, allowed, "Choose the file of the network, or the folder that holds all of them."
    )
