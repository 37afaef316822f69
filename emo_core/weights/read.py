"""Reading one checkpoint file safely: in, a path; out, its tensors and metadata, or one clear sentence on what it is.

safetensors is read as it is; `.pth`, `.pt`, `.bin` and `.ckpt` only as far as they hold tensors and nothing that runs
(`pickled`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import EmoInputError
from ..files import readable_file, shown
from .pickled import AGAIN, first_five, read_pickled, refuse_odd

SAFETENSORS = ".safetensors"
PICKLED = (".pth", ".pt", ".bin", ".ckpt")
CONFIG_KEY = "emo_config"  # in the safetensors metadata: EmoConfig as JSON
CONFIG_FILE = "config.json"  # of a transformers folder


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, on the CPU, and the file's text metadata. Raises EmoInputError for anything but weights."""
    _refuse_impostors(path)
    tensors, metadata = _read_safetensors(path) if _is_safetensors(path) else (read_pickled(path), {})
    if not tensors:
        raise EmoInputError("model", f"{path.name}, which holds no tensors", "a checkpoint", AGAIN)
    return tensors, metadata


def read_header(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """As read_tensors, but the tensors of a safetensors file have only shape and dtype (on the meta device)."""
    _refuse_impostors(path)
    return _read_safetensors(path, header_only=True) if _is_safetensors(path) else read_tensors(path)


def refuse_nan(tensors: dict[str, Tensor], path: Path, dtype: torch.dtype | None = None) -> None:
    """Raises EmoInputError naming the first five tensors that hold NaN or infinity, or numbers that are none any more
    as `dtype`."""
    bad = [name for name, t in tensors.items() if t.is_floating_point() and not _is_finite(t)]
    if bad:
        found = f"{path.name} with NaN or infinite values in {first_five(bad)}"
        remedy = "The file is damaged, or its training diverged: download it again, or take an earlier checkpoint."
        raise EmoInputError("model", found, "finite weights", remedy)
    if dtype is None:
        return
    too_large = [name for name, t in tensors.items() if not _fits(t, dtype)]
    if too_large:
        kind = str(dtype).removeprefix("torch.")
        found = f"{path.name} with values that {kind} cannot hold in {first_five(too_large)}"
        remedy = "Choose another precision, or the file is damaged."
        raise EmoInputError("model", found, f"at most {torch.finfo(dtype).max:.3g}", remedy)


def _is_finite(tensor: Tensor) -> bool:
    wider = tensor.half() if tensor.element_size() == 1 else tensor  # torch does not look into 8 bits
    return bool(torch.isfinite(wider).all())


def _fits(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether no number of a tensor is too large for `dtype`; only where its own type holds larger ones is it read."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    largest = torch.finfo(dtype).max
    return torch.finfo(tensor.dtype).max <= largest or bool(max(-tensor.min(), tensor.max()) <= largest)


def _refuse_impostors(path: Path) -> None:
    if path.suffix.lower() not in (SAFETENSORS, *PICKLED):
        allowed = f"a file ending in {', '.join((SAFETENSORS, *PICKLED))}"
        raise EmoInputError("model", f"a file named {shown(path.name)}", allowed)
    readable_file(path, name="model", allowed="a checkpoint", again=AGAIN)
    with path.open("rb") as file:
        start = file.read(256).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        remedy = "Download the file itself, not the page that describes it (log in first if it asks to)."
        raise EmoInputError("model", f"{path.name}, which is a web page saved as weights", "a checkpoint", remedy)
    if start.startswith(b"version https://git-lfs"):
        remedy = "Run `git lfs pull`, or download the file from its page."
        raise EmoInputError("model", f"{path.name}, which is a Git LFS pointer", "the checkpoint it points to", remedy)


def _is_safetensors(path: Path) -> bool:
    """By its name, or by its beginning: eight bytes of length, then JSON, whatever it was renamed to."""
    if path.suffix.lower() == SAFETENSORS:
        return True
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_safetensors(path: Path, *, header_only: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import safe_open

    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
                tensors[name] = _header_of(file.get_slice(name)) if header_only else file.get_tensor(name)
            metadata = file.metadata() or {}
    except MemoryError as error:
        raise EmoInputError("model", f"{path.name}, which memory is too small for", "a smaller checkpoint") from error
    except Exception as error:  # of the library alone: its own, and whatever torch says to shapes that nothing has
        reason = str(error).split("\n")[0][:200]
        found = f"{path.name} ({path.stat().st_size} bytes), which is truncated or no safetensors file ({reason})"
        raise EmoInputError("model", found, "a whole checkpoint", AGAIN) from error
    if not header_only:
        refuse_odd(tensors, path)
    return tensors, metadata


def _header_of(part: Any) -> Tensor:
    return torch.empty(part.get_shape(), dtype=_DTYPES.get(part.get_dtype(), torch.uint8), device="meta")


_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_DTYPES |= {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool}
_DTYPES |= {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
