"""Going on with a network that has grown: what the saved weights hold is taken, what they lack starts without a word.

In: a module and tensors saved from a smaller one of its kind. Out: the module, which computes what the smaller one did
until it is trained: transformers that are new add zero (their output projection), and so do new residual blocks of
diffusers' AutoencoderDC (their last norm).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import EmoInputError


@torch.no_grad()
def load_grown(module: nn.Module, saved: Mapping[str, Tensor]) -> list[str]:
    """Load `saved` into `module`; gives the names that were not in it. EmoInputError where it knows more than that."""
    missing, unexpected = module.load_state_dict(saved, strict=False)
    if unexpected:
        raise EmoInputError("weights to go on from", f"unknown tensors {unexpected[:5]}", "those of a smaller network")
    new = set(missing)
    parameters = dict(module.named_parameters())
    for name in new & set(parameters):
        if _speaks_last(name, new):
            parameters[name].zero_()
    return sorted(new)


def _speaks_last(name: str, new: set[str]) -> bool:
    """Whether a new parameter is the last that a new transformer or residual block multiplies or adds."""
    owner, part, _ = name.rsplit(".", 2)
    return part == "proj_out" or (part == "norm" and f"{owner}.conv2.weight" in new)
