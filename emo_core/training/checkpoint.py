"""Training checkpoints: weights, moving average, optimizer moments and counters, in safetensors files of at most 15 MB.

A checkpoint is a folder written beside the old one and swapped in by a rename, so a killed run always finds a whole
one. Batches are drawn from (seed, step), so nothing else is needed to continue with the very next loss. Its mark says
which files it has: only these are read, and only these are ever removed, never through a link; what else a person put
into it, copies of its files too, moves on with it. While two lie there, one has a name that no person gives: a copy, or
a checkpoint that somebody moved aside, is nobody's but his.
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import EmoInputError
from ..files import exists, shown
from ..owned import MARK, free_path, mark_of, write_mark
from ..weights.pickled import first_five
from ..weights.read import read_header
from ..whole import explain_unwritable, write_text_whole
from .records import fits, read_json, read_weights, refuse_others

SHARD_BYTES = 15_000_000  # so that one file travels anywhere
KIND = "checkpoint"
COUNTERS = "counters.json"
_PART, _OLD = ".part", ".old"  # a checkpoint that is being written, and the one that it replaces
WEIGHTS, AVERAGE, MOMENTS = "weights", "average", "moments"
_SHARD = re.compile(rf"({WEIGHTS}|{AVERAGE}|{MOMENTS})-\d{{3,}}\.safetensors", re.ASCII)
_FILES = "files"  # in the mark: the names of the shards
_AGAIN = "Remove the checkpoint, or put back one that is whole."


@dataclass
class Counters:
    """What a run has done so far."""

    step: int = 0
    trained_s: float = 0.0
    known: tuple[str, ...] | None = None  # digests of the weights file that the run replaces (see `result`)
    latents: str | None = None  # what the latents that it learns from were made with (see `origin`)


def save_shards(tensors: Mapping[str, Tensor], folder: Path, name: str) -> None:
    """Write `tensors` as name-000.safetensors, name-001... each at most SHARD_BYTES (or one tensor)."""
    _write_shards(_split(tensors, name), folder)


def _split(tensors: Mapping[str, Tensor], name: str) -> dict[str, dict[str, Tensor]]:
    """What each file of `save_shards` holds."""
    shards: list[dict[str, Tensor]] = []
    size = 0
    for key, tensor in tensors.items():
        nbytes = tensor.numel() * tensor.element_size()
        if not shards or size + nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][key], size = tensor, size + nbytes
    return {_shard_name(name, index): shard for index, shard in enumerate(shards)}


def _shard_name(name: str, index: int) -> str:
    return f"{name}-{index:03d}.safetensors"


def _write_shards(shards: Mapping[str, Mapping[str, Tensor]], folder: Path) -> None:
    for file, shard in shards.items():
        save_file({key: tensor.detach().cpu().contiguous() for key, tensor in shard.items()}, folder / file)


def load_whole(folder: Path, name: str, module: nn.Module, wanted: Iterable[str]) -> dict[str, Tensor]:
    """Tensors of a module's shapes, all of the `wanted` among them; else EmoInputError."""
    tensors = load_shards(folder, name)
    refuse_others(tensors, module.state_dict(), what=f"checkpoint {shown(folder)}", all_of_them=False)
    missing = [each for each in wanted if each not in tensors]
    if missing:
        found = f"{name} of {shown(folder)} without {first_five(missing)}"
        raise EmoInputError("checkpoint", found, "a whole one", _AGAIN)
    return tensors


def load_shards(folder: Path, name: str) -> dict[str, Tensor]:
    """What `save_shards` wrote, or a checkpoint has of this name. EmoInputError where some of its files are gone."""
    files = _shards_of(folder, name)
    gone = [file for file in files if not exists(folder / file)]
    if gone:
        found = f"{name} of {shown(folder)} without all its files: no {first_five(gone)}"
        raise EmoInputError("checkpoint", found, "a whole one", _AGAIN)
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors.update(read_weights(folder / file, what="checkpoint", again=_AGAIN))
    return tensors


def _shards_of(folder: Path, name: str) -> list[str]:
    """The files that the save of a checkpoint wrote of its tensors of this name, as its mark says."""
    said = mark_of(folder, KIND)
    if said is None or not fits(said, {_FILES: [str]}):
        return list(_numbered_on(folder, name))
    return [file for file in said[_FILES] if (found := _SHARD.fullmatch(file)) and found[1] == name]


def _numbered_on(folder: Path, name: str) -> Iterator[str]:
    """Those of versions whose mark did not say it: numbered on from 000, without a copy of one of them, which holds the
    same tensors."""
    known: set[str] = set()
    for file in (_shard_name(name, index) for index in itertools.count()):
        if not exists(folder / file):
            return
        try:
            held = set(read_header(folder / file)[0])
        except EmoInputError:  # whoever reads it is told
            held = set()
        if known & held:
            return
        known |= held
        yield file


def refuse_place(folder: Path) -> None:
    """Raises EmoInputError where a checkpoint may not be saved to `folder`: something else lies there, or a link."""
    foreign = folder.exists() and not _is_ours(folder) and any(_entries(folder))
    if folder.is_symlink() or foreign:
        found = f"{shown(folder)}, which is {'no checkpoint' if foreign else 'a link'}"
        remedy = "Move what lies there, or choose another --root."
        raise EmoInputError("checkpoint", found, "a checkpoint of ours, or nothing", remedy)
    if _is_ours(folder) and _entries(folder) and not _is_whole(folder):
        found = f"{shown(folder)} without its {COUNTERS}"
        raise EmoInputError("checkpoint", found, "a whole one", _AGAIN)


def save_checkpoint(
    folder: Path,
    weights: Mapping[str, Tensor],
    *,
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    counters: Counters,
) -> None:
    """Replace the checkpoint in `folder` by this one. EmoInputError for a place that `refuse_place` refuses."""
    refuse_place(folder)
    moments = {
        f"{index}.{key}": value
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    shards = _split(weights, WEIGHTS) | _split(average, AVERAGE) | _split(moments, MOMENTS)
    with explain_unwritable(folder):
        for left in _aside(folder, _PART):
            _discard(left)
        fresh = _name_aside(folder, _PART)
        fresh.mkdir(parents=True)
        write_mark(fresh, KIND, **{_FILES: list(shards)})
        _write_shards(shards, fresh)
        (fresh / COUNTERS).write_text(json.dumps(asdict(counters)))
        if folder.exists():
            folder.rename(_name_aside(folder, _OLD))
        fresh.rename(folder)
        for left in _aside(folder, _OLD):
            _discard(left, move_to=folder)


def _name_aside(folder: Path, suffix: str) -> Path:
    return folder.with_name(f"{folder.name}.{secrets.token_hex(4)}{suffix}")


def _aside(folder: Path, suffix: str) -> list[Path]:
    """What runs that were killed left beside a checkpoint, the newest last."""
    named = re.compile(rf"{re.escape(folder.name)}\.[0-9a-f]{{8}}{re.escape(suffix)}")
    found = [path for path in _entries(folder.parent) if named.fullmatch(path.name) and _is_ours(path)]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _discard(folder: Path, move_to: Path | None = None) -> None:
    """Remove a checkpoint's own files, move what else lies there, and remove the folder if it is empty then."""
    if not _is_ours(folder):
        return
    shards = [file for name in (WEIGHTS, AVERAGE, MOMENTS) for file in _shards_of(folder, name)]
    own = {*shards, COUNTERS, MARK}
    for path in _entries(folder):
        if path.name in own and path.is_file() and not path.is_symlink():
            path.unlink()
        elif move_to is not None:
            path.rename(free_path(move_to / path.name))
    if not _entries(folder):
        folder.rmdir()


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, our mark last; of a file, itself."""
    if not folder.is_dir():
        return [folder]
    return sorted(folder.iterdir(), key=lambda path: (path.name == MARK, path))


def _is_ours(folder: Path) -> bool:
    """Whether a checkpoint of ours lies there, also a half written one, or an empty folder. Those of earlier versions
    have no mark."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    if mark_of(folder, KIND) is not None or not _entries(folder):
        return True
    try:
        load_counters(folder)
    except EmoInputError:
        return False
    return True


def _is_whole(folder: Path) -> bool:
    return (folder / COUNTERS).is_file()


def find_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint at `folder`, also when a run died between the two renames."""
    set_aside = reversed(_aside(folder, _OLD))
    return next((path for path in (folder, *set_aside) if _is_whole(path)), None)


def load_moments(folder: Path, optimizer: torch.optim.Optimizer) -> None:
    """Put the saved optimizer moments back; parameters are matched by their order."""
    moments = load_shards(folder, MOMENTS)
    if not moments and load_counters(folder).step:
        raise EmoInputError("checkpoint", f"no moments-000.safetensors in {shown(folder)}", "a whole one", _AGAIN)
    put_moments(optimizer, moments)


def put_moments(optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    """Moments by "index.name" into an optimizer of Adam's kind. EmoInputError where they are those of others."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbered = {str(number): number for number in range(len(parameters))}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        index, _, name = key.partition(".")
        owner = numbered.get(index)
        if owner is None or value.shape != (() if name == "step" else parameters[owner].shape):
            found = f"a moment {key:.50} of {tuple(value.shape)}"
            raise EmoInputError("checkpoint", found, "the parameters' own", _AGAIN)
        state.setdefault(owner, {})[name] = value
    for owner, saved in state.items():
        if not {"step", "exp_avg", "exp_avg_sq"} <= saved.keys():
            raise EmoInputError("checkpoint", f"not all moments of parameter {owner}", "all of them", _AGAIN)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def load_counters(folder: Path) -> Counters:
    said = read_json(folder / COUNTERS, {"step": int, "trained_s": float}, what="checkpoint", again=_AGAIN)
    if min(said["step"], said["trained_s"]) < 0:
        found = f"{shown(folder / COUNTERS)} with numbers below 0"
        raise EmoInputError("checkpoint", found, "what a run has done", _AGAIN)
    known, latents = said.get("known"), said.get("latents")  # which earlier versions did not keep
    if not (known is None or fits(known, [str])) or not (latents is None or fits(latents, str)):
        raise EmoInputError("checkpoint", f"{shown(folder / COUNTERS)} with other values in it", "digests", _AGAIN)
    return Counters(said["step"], float(said["trained_s"]), None if known is None else tuple(known), latents)


def save_counters(counters: Counters, folder: Path) -> None:
    write_text_whole(folder / COUNTERS, json.dumps(asdict(counters)))
