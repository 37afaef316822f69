"""Writing models: in, a model or a part's tensors and a place; out, files that carry their configuration and our mark.

Nothing of a user's is replaced or removed: only files with our mark, only by a save to the same place, and only where
`overwrite` says so. A save that dies leaves the old model whole: a file is written under a name that nobody has and
then renamed; the files of a folder are first all there under names that tell them from those of the save before
(`saved.model_files` takes the save that is whole), and only then do those go. Of two saves to one folder at the same
time the second is refused.
"""

from __future__ import annotations

import json
import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..config import EmoConfig
from ..errors import EmoInputError
from ..files import NAME_BYTES, exists, expanded, shown
from ..lock import passing_lock
from ..owned import refuse_existing
from .locate import is_weights, walk
from .pickled import first_five
from .read import CONFIG_KEY, PICKLED, SAFETENSORS
from .saved import FOLDER, MARK_KEY, MODEL, NAME_KEY, PART, PARTS, Mark, file_name, mark_of, of_saves, unfinished_name

if TYPE_CHECKING:
    from ..models.emo import EmoModel

LOCK = ".emo-save.lock"  # in a model's folder, while one is saved there
PART_BYTES = 15_000_000  # the largest file of a model saved as a folder
_OTHER = "Choose another name for the output."


def save_model(
    model: EmoModel, path: str | Path, *, dtype: torch.dtype | None = torch.float16, overwrite: bool = False
) -> list[Path]:
    """Write `model` to `path`: one file if it ends in .safetensors, else a folder of files of at most PART_BYTES.

    Parameters only, as `dtype` (None: as they are); buffers are computed on loading. Returns the files written.
    Raises EmoInputError for a place that `refuse_output` refuses.
    """
    path = expanded(path)
    refuse_output(path, overwrite=overwrite)
    parameters = {name: _to_store(name, value, dtype) for name, value in model.named_parameters()}
    config = model.config.to_json()
    if is_one_file(path):
        return [_write_file(path, parameters, {CONFIG_KEY: config, MARK_KEY: MODEL}, overwrite=overwrite)]
    parts = dict(_split(parameters))
    with _only_save(path):
        return _write_folder(path, parts, config, overwrite=overwrite)


def save_tensors(
    tensors: dict[str, Tensor], config: EmoConfig, path: Path, *, dtype: torch.dtype | None, overwrite: bool = False
) -> Path:
    """Write tensors under the names they have, with a configuration: a part of a model."""
    path = expanded(path)
    refuse_output(path, overwrite=overwrite)
    stored = {name: _to_store(name, value, dtype) for name, value in tensors.items()}
    return _write_file(path, stored, {CONFIG_KEY: config.to_json(), MARK_KEY: PART}, overwrite=overwrite)


def is_one_file(output: Path) -> bool:
    """Whether a model saved there is one file, and not a folder."""
    return output.suffix.lower() == SAFETENSORS


def refuse_output(output: Path, *, overwrite: bool) -> None:
    """Raises EmoInputError for a place that a model may not be saved to: something lies there that is not an earlier
    save of ours, or is one and may not be replaced; a folder holds weights that are not ours, which would be loaded as
    parts of the model; or nothing can be written there at all."""
    if output.suffix.lower() in PICKLED:
        raise EmoInputError("output", output.name, f"a name ending in {SAFETENSORS}, or that of a folder")
    _refuse_unwritable(output)
    if not is_one_file(output):
        _refuse_folder(output, overwrite=overwrite)
        return
    refuse_existing(output, overwrite=overwrite)
    if output.is_symlink():
        raise EmoInputError("output", f"{shown(output)}, a link", "the name of a file", "Name what it leads to.")
    mark = mark_of(output) if exists(output) else None
    if mark is not None and mark.kind == FOLDER:
        found = f"{shown(output)}, one of the files of the model {shown(output.parent.name)}"
        raise EmoInputError("output", found, "the folder of that model, or a name that is free", _OTHER)
    if mark is None and exists(output):
        found = f"{shown(output)}, which is not a save of EMO's"
        raise EmoInputError("output", found, "a name that is free", "Choose another name, or move what lies there.")


def refuse_source(source: Path, files: Iterable[Path], output: Path) -> None:
    """Raises EmoInputError if saving to `output` could reach what is converted: `source`, or the `files` that belong to
    it, under whatever names."""
    _refuse_unwritable(output)
    if exists(output) and any(os.path.samefile(output, file) for file in (source, *files) if exists(file)):
        found = f"{shown(output)}, which is also the checkpoint"
        raise EmoInputError("output", found, "another file than the checkpoint", _OTHER)
    if source.is_dir() and _is_inside(output, source):
        found = f"{shown(output)}, which lies in the checkpoint's folder"
        raise EmoInputError("output", found, "a place outside the checkpoint", _OTHER)
    if not is_one_file(output) and any(_is_inside(file, output) for file in (source, *files)):
        found = f"{shown(output)}, the folder that the checkpoint lies in"
        raise EmoInputError("output", found, "a folder without the checkpoint", _OTHER)


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether `path`, which need not exist, is below `folder`, through links and other spellings."""
    if not exists(folder):
        return False
    real = Path(os.path.realpath(path))
    return any(exists(above) and os.path.samefile(above, folder) for above in real.parents)


def _refuse_unwritable(output: Path) -> None:
    said = shown(output)
    if "\0" in str(output):
        raise EmoInputError("output", repr(said), "the name of a file or folder")
    if any(len(os.fsencode(part)) > NAME_BYTES for part in output.parts):
        raise EmoInputError("output", said, f"names of at most {NAME_BYTES} bytes", "Choose a shorter name.")
    if output.parts and output.parts[0].startswith("~"):  # what `expanded` leaves
        found = f"{said}, the home of a user who is not known"
        raise EmoInputError("output", found, "a place in a folder", "Write the whole path.")
    above = next((folder for folder in output.parents if os.path.lexists(folder)), Path())
    if not above.is_dir():
        found = f"{said}, below {shown(above)}, which is no folder"
        raise EmoInputError("output", found, "a place in a folder", _OTHER)
    folder = output if output.is_dir() else above
    if not os.access(folder, os.W_OK | os.X_OK):
        found = f"{said}, in {shown(folder)}, where you may not write"
        raise EmoInputError("output", found, "a folder that may be written to", _OTHER)


def _refuse_folder(folder: Path, *, overwrite: bool) -> None:
    if os.path.lexists(folder) and not folder.is_dir():
        found = f"{shown(folder)}, a file"
        raise EmoInputError("output", found, f"the name of a folder, or one ending in {SAFETENSORS}", _OTHER)
    files = _weights_in(folder)
    ours = of_saves(files)
    foreign = sorted(file.name for file in files if file not in ours)
    if foreign:
        found = f"the folder {shown(folder)}, which holds other weights: {first_five(foreign)}"
        raise EmoInputError("output", found, "a folder without weights of anything else", _OTHER)
    if files and not overwrite:
        remedy = "Choose another name, or --overwrite to replace it."
        raise EmoInputError("output", f"{shown(folder)}, which holds a model", "a name that is free", remedy)


def _weights_in(folder: Path) -> list[Path]:
    """Whatever is named as weights, folders and links too."""
    for _, below, files in walk(folder, depth=0):
        return [folder / name for name in sorted((*below, *files)) if is_weights(name)]
    return []


def _to_store(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    if value.dtype == torch.float8_e4m3fn:  # worth nothing without its scales (models/float8.py)
        raise EmoInputError(
            "model", f"{name} in float8", "a model as it was loaded", "Save it before it is made small."
        )
    stored = value.detach().to("cpu", dtype if value.is_floating_point() else None).contiguous()
    if not bool(torch.isfinite(stored).all()):
        raise EmoInputError("model", f"{name} with values that {dtype} cannot hold", "finite weights")
    return stored


def _split(parameters: dict[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Files of at most PART_BYTES (or one tensor), by part of the model: vae, audio, network, network-2 ..."""
    for file, parts in PARTS.items():
        names = [name for name in parameters if name.split(".")[0] in parts]
        chunks: list[dict[str, Tensor]] = [{}]
        size = 0
        for name in names:
            length = parameters[name].numel() * parameters[name].element_size()
            if chunks[-1] and size + length > PART_BYTES:
                chunks.append({})
                size = 0
            chunks[-1][name] = parameters[name]
            size += length
        for number, chunk in enumerate(chunks, start=1):
            if chunk:
                yield file_name(file, number), chunk


def _write_file(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], *, overwrite: bool) -> Path:
    temporary = _write_aside(path, tensors, metadata)
    try:
        refuse_output(path, overwrite=overwrite)  # again: the weights took their time, and somebody may have come
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


@contextmanager
def _only_save(folder: Path) -> Iterator[None]:
    """Makes `folder`, where nobody else saves while the block runs. EmoInputError where somebody does already."""
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            is_only = held.enter_context(passing_lock(folder, LOCK))
        except OSError as error:
            raise _unwritable(folder, error) from error
        if not is_only:
            found = f"{shown(folder)}, where another model is being saved"
            raise EmoInputError("output", found, "one save at a time", f"Wait for that one. {_OTHER}")
        yield


def _write_folder(folder: Path, parts: Mapping[str, dict[str, Tensor]], config: str, *, overwrite: bool) -> list[Path]:
    """The files of a model, in place of those of an earlier save."""
    refuse_output(folder, overwrite=overwrite)  # again: another save may have ended since
    before = of_saves(_weights_in(folder))
    mark = Mark(FOLDER, 1 + max((mark.number for mark in before.values()), default=0), len(parts))
    metadata = {CONFIG_KEY: config, MARK_KEY: str(mark)}
    token = secrets.token_hex(8)
    new = {folder / unfinished_name(name, token): folder / name for name in parts}
    aside: list[Path] = []
    try:
        for (path, final), tensors in zip(new.items(), parts.values(), strict=True):
            aside.append(_write_aside(path, tensors, {**metadata, NAME_KEY: final.name}))
        _refuse_changed(folder, before)  # the weights took their time
        for temporary, path in zip(aside, new, strict=True):
            os.replace(temporary, path)
        aside = []
        # Now the new model is whole, and is what is loaded; before, the old one was.
        for file in before:
            file.unlink()
        for path, final in new.items():
            os.replace(path, final)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        if aside:
            for path in (*aside, *new):
                path.unlink(missing_ok=True)
    return list(new.values())


def _refuse_changed(folder: Path, before: Mapping[Path, Mark]) -> None:
    """Raises EmoInputError where somebody put weights into a folder, or another model, since a save began."""
    refuse_output(folder, overwrite=True)
    if of_saves(_weights_in(folder)) != before:
        found = f"{shown(folder)}, where another model was saved meanwhile"
        raise EmoInputError("output", found, "one save at a time", _OTHER)


def _write_aside(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    """Write a file beside `path`, under a name that was free and is nobody's; that name."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    temporary = path.with_name(f".emo-{secrets.token_hex(16)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.open("xb").close()  # "x": never what lies there already
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        usual = temporary.stat().st_mode
        save_file(tensors, temporary, metadata=metadata)
        temporary.chmod(usual)  # the library lets nobody but its user read it
        _sort_metadata(temporary)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise _unwritable(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _sort_metadata(path: Path) -> None:
    """The library writes metadata in an order that is drawn anew in each process; the same model is the same file."""
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        if len(text) == length:
            file.seek(8)
            file.write(text)


def _unwritable(path: Path, error: Exception) -> EmoInputError:
    reason = (getattr(error, "strerror", None) or str(error)).split("\n")[0][:200]
    found = f"{shown(path)}, which cannot be written ({reason.lower()})"
    return EmoInputError("output", found, "a place with room that may be written to", _OTHER)
