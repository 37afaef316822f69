"""Training checkpoints: weights, moving average, optimizer moments and counters, in safetensors files of at most 15 MB.

A checkpoint is a folder written beside the old one and swapped in by a rename, so a killed run always finds a whole
one. Batches are drawn from (seed, step), so nothing else is needed to continue with the very next loss.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

SHARD_BYTES = 15_000_000  # so that one file travels anywhere


@dataclass
class Counters:
    """What a run has done so far."""

    step: int = 0
    trained_s: float = 0.0


def save_shards(tensors: Mapping[str, Tensor], folder: Path, name: str) -> None:
    """Write `tensors` as name-000.safetensors, name-001... each at most SHARD_BYTES (or one tensor)."""
    shard: dict[str, Tensor] = {}
    size, index = 0, 0
    for key, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        nbytes = tensor.numel() * tensor.element_size()
        if shard and size + nbytes > SHARD_BYTES:
            save_file(shard, folder / f"{name}-{index:03d}.safetensors")
            shard, size, index = {}, 0, index + 1
        shard[key], size = tensor, size + nbytes
    if shard:
        save_file(shard, folder / f"{name}-{index:03d}.safetensors")


def load_shards(folder: Path, name: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob(f"{name}-*.safetensors")):
        tensors.update(load_file(path))
    return tensors


def save_checkpoint(
    folder: Path,
    weights: Mapping[str, Tensor],
    *,
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    counters: Counters,
) -> None:
    """Replace the checkpoint in `folder` by this one."""
    fresh = folder.with_name(folder.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_shards(weights, fresh, "weights")
    save_shards(average, fresh, "average")
    moments = {
        f"{index}.{key}": value
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    save_shards(moments, fresh, "moments")
    (fresh / "counters.json").write_text(json.dumps(asdict(counters)))
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def find_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint at `folder`, also when a run died between the two renames."""
    for path in (folder, folder.with_name(folder.name + ".old")):
        if (path / "counters.json").exists():
            return path
    return None


def load_moments(folder: Path, optimizer: torch.optim.Optimizer) -> None:
    """Put the saved optimizer moments back; parameters are matched by their order."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in load_shards(folder, "moments").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    saved = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})


def load_counters(folder: Path) -> Counters:
    return Counters(**json.loads((folder / "counters.json").read_text()))
