"""Damaged weights, as a user reaches them: thousands of mutations give a model, a report, or the one sentence.

The configuration inside a safetensors file is mutated as text and then wrapped in a file that is otherwise whole, so
that every damage reaches the code that reads it; so is the config.json of a wav2vec2 folder.
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import torch
from fuzzing import fuzz

# One seed of each form: name -> what it stands for. `.json` files are wrapped before they are read.
OWN, PART, CONFIG, HUB = "own.safetensors", "vae.safetensors", "emo_config.json", "hub_config.json"


def seeds(folder: Path) -> list[Path]:
    """Small good files: EMO's own form, a part under its released names, PyTorch's two forms, two configurations."""
    from released_files import vae
    from safetensors.torch import save_file
    from test_part import hub_folder

    from emo_core.config import TINY
    from emo_core.models.emo import EmoModel
    from emo_core.weights.file import save_model

    torch.manual_seed(0)
    model = EmoModel(TINY)
    save_model(model, folder / OWN)
    save_file({name: value.half() for name, value in vae().items()}, folder / PART, metadata={"format": "pt"})
    # Of few tensors, so that damage falls upon what tells of them, and not upon numbers alone.
    few = {name: value.clone() for name, value in list(model.state_dict().items())[:6]}
    torch.save({"state_dict": few, "epoch": 3}, folder / "zip.pt")
    torch.save(few, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    (folder / CONFIG).write_text(TINY.to_json())
    hub = hub_folder(folder / "hub")
    shutil.copy(hub / "config.json", folder / HUB)
    names = (OWN, OWN, PART, "zip.pt", "zip.pt", "legacy.pth", "legacy.pth", CONFIG, CONFIG, CONFIG, HUB)
    return [folder / name for name in names]


def read(path: Path) -> None:
    """Everything that a name of weights can be given to."""
    from emo_core.errors import EmoInputError
    from emo_core.weights.file import load_model
    from emo_core.weights.inspect import inspect
    from emo_core.weights.part import load_part

    if path.suffix == ".json":
        path = wrapped(path)
    doors = [lambda: str(inspect(path)), lambda: load_model(path, device="cpu"), lambda: load_part(path, "vae")]
    if path.is_dir():
        doors = [lambda: load_part(path, "audio_encoder")]
    for door in doors:
        try:
            door()
        except EmoInputError as error:
            assert len(str(error)) < 2000 and "\n" not in str(error), str(error)[:300]


def wrapped(path: Path) -> Path:
    """A file or folder that is whole, with this text as its configuration."""
    text, folder = path.read_bytes(), path.parent
    if text.lstrip().startswith(b"{") and b"model_type" in text:
        (folder / "hub" / "config.json").write_bytes(text)
        return folder / "hub"
    good = (folder / OWN).read_bytes()
    (length,) = struct.unpack("<Q", good[:8])
    header = json.loads(good[8 : 8 + length])
    header["__metadata__"]["emo_config"] = text.decode("utf-8", "replace")
    new = json.dumps(header).encode()
    target = folder / "wrapped.safetensors"
    target.write_bytes(struct.pack("<Q", len(new)) + new + good[8 + length :])
    return target


def test_damaged_weights_give_a_sentence() -> None:
    assert not fuzz(__file__, count=120)
