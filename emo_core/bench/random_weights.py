"""Weights that nobody trained. In: a configuration or a model. Out: a model that takes the time and the memory of a
trained one, or its tensors, with values of about the size that training leaves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ..config import EmoConfig
from ..models.emo import EmoModel

_POOL = 2**22  # random numbers


def drawn_model(config: EmoConfig, *, device: torch.device, dtype: torch.dtype) -> EmoModel:
    """A model whose weights are made where they belong, however many: see `filled`."""
    from ..weights.file import assign, build_without_memory

    model = build_without_memory(config)
    assign(model, dict(filled(model, dtype, device=device)), device=device, dtype=dtype, where=config.name)
    return model


def random_model(config: EmoConfig, *, device: torch.device) -> EmoModel:
    """Random weights; zero-initialised projections are filled too, or half of the work would add nothing."""
    torch.manual_seed(0)
    with device:
        model = EmoModel(config).eval()
    for parameter in model.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def filled(
    model: nn.Module, dtype: torch.dtype, *, only: str = "", device: torch.device | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a model with random values of about the size that training leaves, on `device` (the CPU).

    They are cut from one pool of Gaussian noise: to draw two billion numbers takes minutes.
    """
    pool = torch.randn(_POOL, generator=torch.Generator().manual_seed(0)).to(device or torch.device("cpu"), dtype)
    state: Mapping[str, Tensor] = model.state_dict()
    begin = 0
    for name, value in state.items():
        if not name.startswith(only):
            continue
        if not value.is_meta:  # a buffer
            yield name, value.to(pool.device, dtype).clone()
            continue
        begin = (begin + 1_234_577) % _POOL  # another place for every tensor
        end = begin + value.numel()
        drawn = (pool if end <= _POOL else pool.repeat(1 + end // _POOL))[begin:end].view(value.shape)
        if value.ndim > 1:
            yield name, drawn / math.sqrt(value[0].numel())
        else:
            yield name, drawn * 0.05 + (1.0 if name.endswith(".weight") else 0.0)
