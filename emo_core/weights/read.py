"""Reading one checkpoint file safely: in, a path; out, its tensors and metadata, or one clear sentence on what it is.

safetensors is read as it is; `.pth`, `.pt`, `.bin` and `.ckpt` only as far as they hold tensors and nothing that runs.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import EmoInputError

SAFETENSORS = ".safetensors"
PICKLED = (".pth", ".pt", ".bin", ".ckpt")
CONFIG_KEY = "emo_config"  # in the safetensors metadata: EmoConfig as JSON
AGAIN = "Download it again."


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, on the CPU, and the file's text metadata. Raises EmoInputError for anything but weights."""
    _refuse_impostors(path)
    tensors, metadata = _read_safetensors(path) if _is_safetensors(path) else (_read_pickled(path), {})
    if not tensors:
        raise EmoInputError("model", f"{path.name}, which holds no tensors", "a checkpoint", AGAIN)
    return tensors, metadata


def read_header(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """As read_tensors, but the tensors of a safetensors file have only shape and dtype (on the meta device)."""
    if not path.is_file() or not _is_safetensors(path):
        return read_tensors(path)
    _refuse_impostors(path)
    return _read_safetensors(path, header_only=True)


def refuse_nan(tensors: dict[str, Tensor], path: Path) -> None:
    """Raises EmoInputError naming the first five tensors that hold NaN or infinity."""
    bad = [name for name, t in tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
    if bad:
        found = f"{path.name} with NaN or infinite values in {first_five(bad)}"
        raise EmoInputError("model", found, "finite weights", "The file is damaged or its training diverged.")


def first_five(names: list[str]) -> str:
    """`a, b, c, d, e and 12 more`."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _refuse_impostors(path: Path) -> None:
    if path.suffix not in (SAFETENSORS, *PICKLED):
        allowed = f"a file ending in {', '.join((SAFETENSORS, *PICKLED))}"
        raise EmoInputError("model", f"a file named {path.name}", allowed)
    try:
        start = path.open("rb").read(256).lstrip().lower()
    except OSError as error:
        raise EmoInputError("model", f"{path}, which cannot be read ({error.strerror})", "a readable file") from error
    if not start:
        raise EmoInputError("model", f"{path.name}, which is empty", "a checkpoint", AGAIN)
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        remedy = "Download the file itself, not the page that describes it (log in first if it asks to)."
        raise EmoInputError("model", f"{path.name}, which is a web page saved as weights", "a checkpoint", remedy)
    if start.startswith(b"version https://git-lfs"):
        remedy = "Run `git lfs pull`, or download the file from its page."
        raise EmoInputError("model", f"{path.name}, which is a Git LFS pointer", "the checkpoint it points to", remedy)


def _is_safetensors(path: Path) -> bool:
    """By its name, or by its beginning: eight bytes of length, then JSON, whatever it was renamed to."""
    if path.suffix == SAFETENSORS:
        return True
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_safetensors(path: Path, *, header_only: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
                tensors[name] = _header_of(file.get_slice(name)) if header_only else file.get_tensor(name)
            return tensors, file.metadata() or {}
    except SafetensorError as error:
        found = f"{path.name} ({path.stat().st_size} bytes), which is truncated or no safetensors file ({error})"
        raise EmoInputError("model", found, "a whole checkpoint", AGAIN) from error


def _header_of(part: Any) -> Tensor:
    return torch.empty(part.get_shape(), dtype=_DTYPES.get(part.get_dtype(), torch.uint8), device="meta")


_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_DTYPES |= {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool}


def _read_pickled(path: Path) -> dict[str, Tensor]:
    from pickle import UnpicklingError  # the exception only: torch.load reads with weights_only

    try:
        # Mapped: a tensor is read when it is used, and a file of half precision costs its size in memory, once.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnpicklingError as error:
        remedy = "Ask for a .safetensors file, or convert it where you trust it."
        found = f"{path.name}, a pickle that would run code when loaded, or is damaged"
        raise EmoInputError("model", found, "a file of tensors alone", remedy) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        reason = str(error).split("\n")[0][:120]
        found = f"{path.name}, which is truncated or no PyTorch file ({reason})"
        raise EmoInputError("model", found, "a whole checkpoint", AGAIN) from error
    return _tensors_in(content)


def _tensors_in(content: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, also where training code wrapped it in {"state_dict": ...} or {"module": ...}."""
    if not isinstance(content, dict):
        return {}
    for wrapper in ("state_dict", "model_state_dict", "module"):
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if tensors and all(name.startswith("module.") for name in tensors):  # DistributedDataParallel's prefix
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors
