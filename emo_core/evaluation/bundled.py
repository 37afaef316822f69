"""The weights that evaluation ships beside its code: in, a network; out, the same with its weights, to read with."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from torch import nn

from ..errors import EmoInputError

WEIGHTS = Path(__file__).parent / "weights"

Net = TypeVar("Net", bound=nn.Module)


def with_weights(net: Net, name: str) -> Net:
    """`net` with the tensors of the file `name`. Raises EmoInputError where it is missing."""
    from safetensors.torch import load_file

    path = WEIGHTS / name
    if not path.exists():
        remedy = "Make it: python -m emo_core.evaluation.train_readers --heads FOLDER."
        raise EmoInputError(str(path), "no file", "the reader's weights", remedy)
    net.load_state_dict({key: tensor.float() for key, tensor in load_file(path).items()})
    return net.eval().requires_grad_(False)
