"""A small model to save, and what lies in a folder before and after."""

from __future__ import annotations

import dataclasses
import itertools
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from emo_core.config import TINY
from emo_core.models.emo import EmoModel
from emo_core.weights.read import CONFIG_KEY
from emo_core.weights.saved import MARK_KEY, read_checkpoint

SMALL = dataclasses.replace(TINY, unet=dataclasses.replace(TINY.unet, block_out_channels=(8, 8)))


def drawn(seed: int) -> EmoModel:
    torch.manual_seed(seed)
    return EmoModel(SMALL).eval()


def is_model(path: Path, model: EmoModel) -> bool:
    """Whether the files, as they are loaded, are this model and nothing else."""
    tensors, config = read_checkpoint(path)
    own = dict(model.named_parameters())
    return config == SMALL and tensors.keys() == own.keys() and all(torch.equal(own[k].half(), tensors[k]) for k in own)


def everything(*folders: Path) -> dict[Path, bytes | str]:
    """All that lies below folders: bytes, where links lead, and that there is a folder."""
    found: dict[Path, bytes | str] = {}
    for path in itertools.chain.from_iterable(folder.rglob("*") for folder in folders):
        found[path] = os.readlink(path) if path.is_symlink() else "folder" if path.is_dir() else path.read_bytes()
    return found


def without_mark(path: Path) -> None:
    """As it was saved before there were marks."""
    with safe_open(path, framework="pt") as file:
        config = file.metadata()[CONFIG_KEY]
    save_file(load_file(path), path, metadata={CONFIG_KEY: config})


def without_name(path: Path) -> None:
    """As a folder's file was saved before it said its name."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata={key: metadata[key] for key in (CONFIG_KEY, MARK_KEY)})


def foreign(path: Path) -> None:
    save_file({"lora.weight": torch.zeros(3)}, path)
