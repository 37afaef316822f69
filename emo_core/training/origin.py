"""Which VAE and audio encoder the cached latents were made with.

In: a root. Out, beside its latents: `made_with.json`, the fingerprints of both; later on, which of them is another one
by now. What is trained on the latents of others does not fit what it is put together with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..files import exists
from ..fingerprint import fingerprint
from ..models.vae import ENCODING
from ..whole import write_text_whole
from .records import read_json

MADE_WITH = "made_with.json"


def write_origin(folder: Path, made_with: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Keep what the latents in `folder` were made with: tensors by the name of the network; empty, while it is open."""
    text = json.dumps({name: _origin(tensors) for name, tensors in made_with.items()}, indent=1)
    write_text_whole(folder / MADE_WITH, f"{text}\n")


def is_other(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the latents were made with other tensors of this network; False where nobody kept it."""
    if not exists(folder / MADE_WITH):
        return False
    said = read_json(folder / MADE_WITH, dict, what="latents", again="Run `train latents` again.")
    return name in said and said[name] != _origin(tensors)


def origin_of(folder: Path) -> str | None:
    """What the latents in `folder` were made with, in one word; None where nobody kept it."""
    if not exists(folder / MADE_WITH):
        return None
    said = read_json(folder / MADE_WITH, dict, what="latents", again="Run `train latents` again.")
    return " ".join(f"{said[name]}" for name in sorted(said)) or None


def _origin(tensors: Mapping[str, Tensor]) -> str:
    """Of a VAE the part that makes latents alone: decoders get better while latents stay what they are."""
    making = {name: value for name, value in tensors.items() if name.startswith(ENCODING)}
    return fingerprint(making or tensors)
