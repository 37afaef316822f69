"""Sizes that tensors tell: of damaged released files they tell what cannot be, which is one sentence."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import released_files as made
import torch
from torch import Tensor

from emo_core.config import EMO_SD15, AudioEncoderConfig, VAEConfig
from emo_core.errors import EmoInputError
from emo_core.weights.convert import _respelled
from emo_core.weights.kinds import recognise
from emo_core.weights.part import _released
from emo_core.weights.released import Gathered, configured, drop_unread, named
from emo_core.weights.shapes import read_sizes, vae_of, wav2vec2_of

SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (3,), (7, 0), (0, 0, 0, 0), (1, 1, 1, 1), (5, 5), (2**40, 2**20))

TELLING = re.compile(  # what the functions of shapes.py look at
    r"(^|^backbone\.|coder\.)(conv_in|conv_out|down_blocks\.\d\.resnets\.0\.conv1)\.weight$"
    r"|^(backbone\.)?mid_block\.\w+\.0\.transformer_blocks\.0\.attn2(_0)?\.to_k|pos_encoder|identity_projection\.|latents$"
    r"|^audio_projection\.(proj|norm|layers\.0\.0\.to_q|layers\.0\.1\.1)|^face_locator\.|conv_layers|pos_conv"
    r"|encoder\.(layer_norm|layers\.0\.feed_forward|conv1|blocks\.0\.mlp)|down\.\d\.block\.0\.conv1"
)


def on_meta(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.empty(value.shape, device="meta") for name, value in tensors.items()}


def damaged(tensors: dict[str, Tensor], chance: random.Random) -> dict[str, Tensor]:
    """One to three tensors are gone, or of another shape, or there under another name."""
    changed = dict(tensors)
    telling = [name for name in changed if TELLING.search(name)]
    for name in chance.sample(telling if chance.random() < 0.8 else list(changed), chance.choice((1, 1, 2, 3))):
        value = changed.pop(name)
        shape = list(value.shape)
        if shape:
            shape[chance.randrange(len(shape))] = chance.choice((0, 1, 3, 7, 33, 10**6, 2**40))
        other = chance.choice((None, None, tuple(shape), tuple(shape), chance.choice(SHAPES), "name"))
        if other == "name":
            changed[name.replace("0", chance.choice(("7", "12345", "9" * 5000)), 1)] = value
        elif other is not None:
            changed[name] = torch.empty(other, device="meta")
    return changed


def whole(family: str, part: str) -> dict[str, Tensor]:
    tensors = made.drawn(f"{family}_step")
    if family == "hallo":
        return on_meta(named("model", tensors))
    renamed = {"denoising_unet.": "backbone", "reference_unet.": "reference_net"}
    renamed |= {f"{name}.": name for name in ("reference_net", "face_locator", "audio_projection")}
    return on_meta(
        {
            name: value
            for prefix, ours in renamed.items()
            for name, value in named(ours, made.below(tensors, prefix)).items()
        }
    )


@pytest.mark.parametrize("family", ["hallo", "echomimic", "v_express"])
def test_a_damaged_released_model_gets_a_sentence(family: str) -> None:
    good = whole(family, "backbone") | on_meta(named("vae", made.vae()))
    gathered = Gathered(family, {"backbone": Path("net.pth")}, ())
    configured(good, gathered)
    refused = 0
    for seed in range(60):
        tensors = damaged(good, random.Random(seed))
        try:
            config = configured(tensors, gathered)
            if seed % 10 == 0:
                drop_unread(tensors, config)
        except EmoInputError as error:
            refused += 1
            assert len(str(error)) < 1000 and "\n" not in str(error)
    assert refused > 5


PARTS: dict[str, tuple[Callable[[], dict[str, Tensor]], str]] = {
    "vae": (made.vae, "vae"),
    "original vae": (lambda: made.original_vae(made.vae()), "vae"),
    "wav2vec2": (made.wav2vec, "audio_encoder"),
    "whisper": (made.whisper, "audio_encoder"),
    "unet": (lambda: made.below(made.drawn("v_express_step"), "reference_net."), "reference_net"),
    "motion": (lambda: made.below(made.drawn("hallo_step"), "denoising_unet."), "backbone"),
}


@pytest.mark.parametrize("kind", PARTS)
def test_a_damaged_part_gets_a_sentence(kind: str) -> None:
    tensors, part = PARTS[kind]
    good = on_meta(tensors())
    for seed in range(60):
        given = damaged(good, random.Random(seed))
        doors = (
            partial(_released, Path("part.pth"), given, part, EMO_SD15),
            partial(read_sizes, partial(_respelled, given, recognise(given), EMO_SD15, None), "part.pth"),
        )
        for door in doors:
            try:
                door()[1].refuse_impossible("model")
            except EmoInputError as error:
                assert len(str(error)) < 1000 and "\n" not in str(error)


def test_which_tensor_is_missing_or_odd_is_said() -> None:
    with pytest.raises(EmoInputError, match=r"a\.pth without 'decoder.conv_in.weight'; expected all tensors"):
        read_sizes(lambda: vae_of({}, VAEConfig()), "a.pth")
    shapes = {name: value.shape for name, value in made.wav2vec().items()}
    shapes = {name.removeprefix("wav2vec2."): shape for name, shape in shapes.items()}
    position = "encoder.pos_conv_embed.conv.parametrizations.weight.original1"
    for wrong in ((), (3,), (16, 0, 3)):
        with pytest.raises(EmoInputError, match=r"a\.pth with tensors that no such network has"):
            read_sizes(lambda: wav2vec2_of({**shapes, position: wrong}, AudioEncoderConfig()), "a.pth")  # noqa: B023
