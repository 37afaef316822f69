"""All doors that save, over folders of anything: every file that the user had is there with the same bytes."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import released_files as made
import torch
from safetensors.torch import load_file
from save_cases import SMALL, drawn, everything, foreign

from emo_core.errors import EmoInputError
from emo_core.weights import save as weights_save
from emo_core.weights.convert import convert
from emo_core.weights.file import save_model
from emo_core.weights.save import save_tensors

NAMES = (
    "m.safetensors", "m.safetensors.part", "m.safetensors.tmp", "m.part", "m.pth", ".emo-0.tmp", "m/notes.txt",
    "m/vae.safetensors", "m/network-2.safetensors", "m/vae.safetensors.part", "m/other.safetensors", "m/net.bin",
    "m/config.json", "m/sub/vae.safetensors", "m/vae~0123456789abcdef.safetensors", "m.safetensors/inside.txt", "m",
    "m/audio.safetensors/inside.txt", "vae.safetensors", "network.safetensors",
)  # fmt: skip


def make_theirs(path: Path, chance: random.Random, elsewhere: Path) -> None:
    """A file of the user's, of any kind, or a link to one."""
    if os.path.lexists(path) or any(above.is_file() for above in path.parents):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = chance.choice(("noise", "safetensors", "converted", "link", "link to folder"))
    if kind == "safetensors":
        foreign(path)
    elif kind == "converted" and path.suffix == ".safetensors":
        shutil.copy(elsewhere / "part.safetensors", path)
    elif kind.startswith("link"):
        path.symlink_to(elsewhere if "folder" in kind else elsewhere / "part.safetensors")
    else:
        path.write_bytes(chance.randbytes(50))


def test_whatever_a_user_has_stays_through_every_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, parts = drawn(0), made.save(made.vae(), tmp_path / "given" / "vae.bin", torch.float16)
    elsewhere = tmp_path / "elsewhere"
    (part,) = convert(parts, elsewhere / "part.safetensors")
    (whole,) = save_model(model, elsewhere / "whole.safetensors")
    vae = load_file(part)
    monkeypatch.setattr("emo_core.weights.convert.load_model", lambda *args, **kwargs: model)  # read often enough
    written = 0
    for seed in range(30):
        chance = random.Random(seed)
        home = tmp_path / f"home{seed}"
        for name in chance.sample(NAMES, chance.choice((0, 1, 1, 2, 3, 6))):
            make_theirs(home / name, chance, elsewhere)
        home.mkdir(exist_ok=True)
        if chance.random() < 0.3:
            shutil.copy(whole, home / "source.safetensors")
        before = everything(home, elsewhere)
        source = next(home.glob("source*"), whole)
        for _ in range(4):
            target = home / chance.choice(("m.safetensors", "m", ".", "vae.safetensors", "new/m", "sub/../m"))
            overwrite, fails = chance.random() < 0.5, chance.random() < 0.2
            doors: list[Callable[[], object]] = [
                lambda: save_model(model, target, overwrite=overwrite),  # noqa: B023 - called at once
                lambda: convert(part, target, overwrite=overwrite),  # noqa: B023
                lambda: convert(source, target, overwrite=overwrite),  # noqa: B023
                lambda: save_tensors(vae, SMALL, target, dtype=None, overwrite=overwrite),  # noqa: B023
            ]
            with monkeypatch.context() as patch:
                if fails:
                    patch.setattr(weights_save, "_sort_metadata", failing)
                try:
                    chance.choice(doors if target.suffix else doors[:3])()
                    written += 1
                except EmoInputError as error:
                    assert error.name in ("output", "model"), error
            after = everything(home, elsewhere)
            assert before.items() <= after.items(), (seed, target)
            assert not any(path.name.startswith(".emo-") and path not in before for path in after)
    assert written > 30


def failing(path: Path) -> None:
    raise OSError(28, "No space left on device")
