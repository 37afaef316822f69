"""One clip of a tiny model whose every layer speaks, and a record of what its backbone was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from emo_core.config import TINY
from emo_core.data import AudioFeatures, GenerateSettings, Portrait
from emo_core.models.emo import EmoModel
from emo_core.models.unet import Backbone
from emo_core.pipeline.generate import generate
from emo_core.pipeline.reference import encode_reference


@dataclass
class Call:
    network: Backbone
    given: tuple[Any, ...]
    rows: int
    ran_deep: bool = False


@lru_cache
def model() -> EmoModel:
    torch.manual_seed(0)
    made = EmoModel(TINY).eval().requires_grad_(False)
    for parameter in made.backbone.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.2)
    return made


def small_run(settings: GenerateSettings) -> Tensor:
    """Frames of one clip."""
    generator = torch.Generator().manual_seed(2)
    crop = torch.rand(64, 64, 3, generator=generator)
    portrait = Portrait(crop, (16.0, 16.0, 48.0, 48.0), (0.0, 0.0, 64.0, 64.0), crop)
    audio = AudioFeatures(torch.randn(4, 5, 2, 16, generator=generator), 25.0)
    clips = generate(model(), encode_reference(model(), portrait), audio, None, settings)
    return torch.cat([clip.frames for clip in clips])


@contextmanager
def counted() -> Iterator[list[Call]]:
    """Every call of the backbone while this lasts."""
    backbone, calls = model().backbone, list[Call]()

    def asked(network: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.append(Call(network, given, rows=len(given[0])))

    def deep(*_: object) -> None:
        calls[-1].ran_deep = True

    hooks = [
        backbone.register_forward_pre_hook(asked, with_kwargs=True),
        backbone.mid_block.register_forward_pre_hook(deep),
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()
