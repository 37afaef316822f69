"""PyTorch's own files (`.pth`, `.pt`, `.bin`, `.ckpt`): in, a path; out, the tensors that it holds, and nothing run.

A pickle of a few bytes can ask for any amount of memory. So what it claims is compared with the file's size: of the
archive before anything of it is read, of its tensors before anybody computes with them.
"""

from __future__ import annotations

import mmap
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import EmoInputError

AGAIN = "Download it again."
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
KNOWN_TYPES = {*_FLOATS, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool}
SHARED = 8  # a file may show its bytes under so many names (tied weights), and no more
_ARCHIVE, _PICKLE = b"PK\x03\x04", b"\x80"  # how both of PyTorch's forms begin
_HUNGRY = b"bytearray\n"  # the one thing that torch's reader makes as large as a number in the file says, and fills


def read_pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict. Raises EmoInputError for whatever is none."""
    from pickle import UnpicklingError  # the exception only: torch.load reads with weights_only

    with path.open("rb") as file:
        start = file.read(4)
    _refuse_claims(path, start)
    try:
        # Mapped: a tensor is read when it is used, and a file of half precision costs its size in memory, once.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=start == _ARCHIVE)
    except UnpicklingError as error:
        remedy = "Ask for a .safetensors file, or convert it where you trust it."
        found = f"{path.name}, a pickle that would run code when loaded, or is damaged"
        raise EmoInputError("model", found, "a file of tensors alone", remedy) from error
    except MemoryError as error:
        raise EmoInputError("model", f"{path.name}, which memory is too small for", "a smaller checkpoint") from error
    except Exception as error:  # torch's reader alone, which does whatever damaged bytes say, and fails in any way
        raise _damaged(path, error) from error
    tensors = _tensors_in(content)
    if not tensors:
        _refuse_deeper(content, path)
    _refuse_borrowed(tensors, path)
    refuse_odd(tensors, path)
    return tensors


def refuse_odd(tensors: dict[str, Tensor], path: Path) -> None:
    """Raises EmoInputError for tensors of types that no network here is made of, naming the first five."""
    odd = [f"{brief_name(name)} ({t.dtype})".replace("torch.", "") for name, t in tensors.items() if _is_odd(t)]
    if odd:
        raise EmoInputError("model", f"{path.name} with {first_five(odd)}", "plain tensors of numbers", AGAIN)


def first_five(names: list[str]) -> str:
    """`a, b, c, d, e and 12 more`."""
    said = ", ".join(brief_name(name) for name in names[:5])
    return said if len(names) <= 5 else f"{said} and {len(names) - 5} more"


def brief_name(name: str) -> str:
    """A tensor's name for a message: of one line, and not the novel that somebody may have called it."""
    text = name if name.isprintable() else name.encode("unicode_escape").decode()
    return text if len(text) <= 150 else f"{text[:100]} ... {text[-30:]}"


def _is_odd(tensor: Tensor) -> bool:
    return tensor.dtype not in KNOWN_TYPES


def _refuse_claims(path: Path, start: bytes) -> None:
    """Raises EmoInputError for a file that is of neither form, or asks for much more memory than it has bytes."""
    size = path.stat().st_size
    hungry = False
    if start == _ARCHIVE:
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
                if sum(entry.file_size for entry in entries) > size:  # PyTorch packs nothing
                    found = f"{path.name} ({size} bytes), which says that it holds more than it has bytes"
                    raise EmoInputError("model", found, "a file as PyTorch writes it", AGAIN)
                pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
                hungry = any(_HUNGRY in archive.read(entry) for entry in pickles)
        except EmoInputError:
            raise
        except Exception as error:  # of zipfile alone: damaged archives fail in a dozen ways
            raise _damaged(path, error) from error
    elif start.startswith(_PICKLE):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            hungry = content.find(_HUNGRY) >= 0
    else:
        raise _damaged(path, ValueError("it begins like neither of PyTorch's forms"))
    if hungry:
        found = f"{path.name}, which would make other things than tensors when loaded"
        raise EmoInputError("model", found, "a file of tensors alone", "Ask for a .safetensors file.")


def _refuse_borrowed(tensors: dict[str, Tensor], path: Path) -> None:
    """Raises EmoInputError for tensors that are not simply in the file: on no device, sparse, quantised, or larger than
    what is stored of them (one number can be said to be a million rows)."""
    size, total = path.stat().st_size, 0
    bad = []
    for name, tensor in tensors.items():
        plain = type(tensor) in (Tensor, nn.Parameter) and tensor.device.type == "cpu"
        plain = plain and tensor.layout == torch.strided and not tensor.is_quantized
        length = tensor.numel() * tensor.element_size() if plain else 0
        total += length
        if not plain or length > tensor.untyped_storage().nbytes() or tensor.untyped_storage().nbytes() > size:
            bad.append(name)
    if bad or total > SHARED * size:
        named = f": {first_five(bad)}" if bad else ""
        found = f"{path.name} ({size} bytes), which claims tensors that are not in it{named}"
        raise EmoInputError("model", found, "a whole checkpoint", AGAIN)


def _tensors_in(content: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, also where training code wrapped it in {"state_dict": ...} or {"module": ...}."""
    if not isinstance(content, dict):
        return {}
    for wrapper in ("state_dict", "model_state_dict", "module"):
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = {
        str(name): value for name, value in content.items() if isinstance(value, Tensor) and isinstance(name, str | int)
    }
    if tensors and all(name.startswith("module.") for name in tensors):  # DistributedDataParallel's prefix
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _refuse_deeper(content: Any, path: Path) -> None:
    """Raises EmoInputError where the tensors lie under names that training code chose, of which one may be meant."""
    inside = content.items() if isinstance(content, dict) else ()
    names = [str(name) for name, value in inside if isinstance(value, dict) and _tensors_in(value)]
    if names:
        found = f"{path.name}, whose tensors lie deeper, under {first_five(names)}"
        remedy = "Save the one that is meant by itself: torch.save(torch.load(path)[name], other)."
        raise EmoInputError("model", found, "a state dict", remedy)


def _damaged(path: Path, error: Exception) -> EmoInputError:
    reason = str(error).split("\n")[0][:120]
    found = f"{path.name}, which is truncated or no PyTorch file ({reason})"
    return EmoInputError("model", found, "a whole checkpoint", AGAIN)
