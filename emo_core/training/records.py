"""What training and evaluation wrote and read again: JSON, arrays, weights. In: a path, and what the content must be.
Out: the content; EmoInputError for files that are missing, damaged or of other types, whoever changed them."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import EmoInputError
from ..files import exists, readable_file, shown
from ..weights.read import read_tensors, refuse_nan
from ..whole import written_whole

_LARGEST = 2**53  # integers of JSON beyond it are no counts of ours
_DEFLATE = 1032  # times that deflate makes a file smaller, at most


def read_json(path: Path, types: object, *, what: str, again: str) -> Any:
    """The content of a JSON file of these `types` (see `fits`). `what` is the input that it belongs to, `again` what to
    do about a damaged one."""
    allowed = f"what this version of EMO writes to {path.name}"
    _refuse_unreadable(path, allowed, what=what, again=again)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EmoInputError(what, f"{shown(path)}, which is no JSON", allowed, again) from error
    if not fits(value, types):
        raise EmoInputError(what, f"{shown(path)} with other values in it", allowed, again)
    return value


def fits(value: object, types: object) -> bool:
    """Whether a value of JSON has these types: `float` (finite), `int`, `str`, ...; [types] for a list of such values;
    (types, types) for a list of these; {key: types} for an object that has at least these keys."""
    if isinstance(types, Mapping):
        return isinstance(value, dict) and all(key in value and fits(value[key], kind) for key, kind in types.items())
    if isinstance(types, tuple):
        return isinstance(value, list) and len(value) == len(types) and all(map(fits, value, types))
    if isinstance(types, list):
        return isinstance(value, list) and all(fits(item, types[0]) for item in value)
    if types in (int, float):
        numbers = int if types is int else (int, float)
        number = isinstance(value, numbers) and not isinstance(value, bool)
        return number and -_LARGEST < value < _LARGEST and math.isfinite(value)  # type: ignore[operator, arg-type]
    return isinstance(value, types)  # type: ignore[arg-type]


def read_arrays(path: Path, kinds: Mapping[str, tuple[str, int]], *, what: str, again: str) -> dict[str, NDArray[Any]]:
    """Arrays of an .npz by their names; `kinds`: for each the kind of its numbers, in numpy's letters ("f", "iu"), and
    how many dimensions it has. What a file claims to hold is compared with its size before memory is taken."""
    _refuse_unreadable(path, f"the arrays {', '.join(kinds)}", what=what, again=again)
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {name: _member(archive, f"{name}.npy") for name in kinds}
    except MemoryError:
        raise
    except Exception as error:  # of zipfile and numpy alone, which have a dozen kinds for damaged files
        said = f"{shown(path)}, which is damaged ({type(error).__name__}: {str(error)[:150]})"
        raise EmoInputError(what, said, f"the arrays {', '.join(kinds)}", again) from error
    for name, (letters, dimensions) in kinds.items():
        _refuse_other(arrays[name], path, (letters, dimensions), what=f"{what}, {name}", again=again)
    return arrays


def read_array(path: Path, kind: tuple[str, int], *, what: str, again: str) -> NDArray[Any]:
    """The array of an .npy, which stays on the disk until it is looked at (mmap)."""
    _refuse_unreadable(path, "an array", what=what, again=again)
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except MemoryError:
        raise
    except Exception as error:  # of numpy alone: what its header claims, and what the system says to a map of that size
        said = f"{shown(path)}, which is damaged ({type(error).__name__}: {str(error)[:150]})"
        raise EmoInputError(what, said, "an array", again) from error
    _refuse_other(array, path, kind, what=what, again=again)
    return array


def _refuse_unreadable(path: Path, allowed: str, *, what: str, again: str) -> None:
    if not exists(path):  # a step that was not run yet: `again` says which
        raise EmoInputError(what, f"no file at {shown(path)}", allowed, again)
    readable_file(path, name=what, allowed=allowed, again=again)


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("another compression than numpy's")
    room = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else _DEFLATE) + 1024
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > min(room, info.file_size):
        raise ValueError(f"{name} claims to be {shape} of {dtype}, more than is there")
    with archive.open(info) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)  # type: ignore[no-untyped-call]
    return array


def _refuse_other(array: NDArray[Any], path: Path, kind: tuple[str, int], *, what: str, again: str) -> None:
    letters, dimensions = kind
    if array.dtype.kind not in letters or array.ndim != dimensions:
        found = f"{array.ndim} dimensions of {array.dtype} in {shown(path)}"
        raise EmoInputError(what, found, f"{dimensions} of kind {letters!r}", again)


def read_weights(path: Path, *, what: str, again: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file that a step left."""
    _refuse_unreadable(path, f"the weights {path.name}", what=what, again=again)
    try:
        tensors, _ = read_tensors(path)
        refuse_nan(tensors, path)
    except EmoInputError as error:  # which knows of models alone
        raise EmoInputError(what, f"{error.found} in {shown(path.parent)}", error.allowed, again) from error
    return tensors


def write_weights(module: nn.Module, path: Path) -> None:
    """A module's tensors as a safetensors file."""
    from safetensors.torch import save_file

    with written_whole(path) as part:
        save_file({name: value.detach().contiguous() for name, value in module.state_dict().items()}, part)


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], *, what: str, strict: bool = True) -> None:
    """Put tensors into a module. EmoInputError where they are those of another."""
    refuse_others(tensors, module.state_dict(), what=what, all_of_them=strict)
    module.load_state_dict(tensors, strict=strict)


def refuse_others(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, what: str, all_of_them: bool = True
) -> None:
    """Raises EmoInputError for tensors that are not among those `wanted`, by name and shape, or not `all_of_them`."""
    shapes = {name: tuple(value.shape) for name, value in wanted.items()}
    odd = [f"{name} of {tuple(value.shape)}" for name, value in tensors.items() if shapes.get(name) != value.shape]
    odd += [f"no {name}" for name in shapes if all_of_them and name not in tensors]
    if odd:
        found = f"{len(odd)} differences, such as {'; '.join(odd[:3])}"
        raise EmoInputError(what, found, "the weights of this network", "Use the --preset that they were made with.")
