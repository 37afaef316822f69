"""The configuration that released weights imply: in, shapes by name; out, the parts of an EmoConfig that shapes tell.

Released files carry no configuration. What no shape tells (heads, schedule, guidance) comes from the family's preset.
Names here are those of the released files without the prefix of the network.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from ..config import (
    AudioEncoderConfig,
    AudioModuleConfig,
    AudioProjectionConfig,
    FaceLocatorConfig,
    IdentityConfig,
    MotionModuleConfig,
    UNetConfig,
    VAEConfig,
)
from ..errors import EmoInputError
from .pickled import AGAIN, brief_name

T = TypeVar("T")
Shapes = Mapping[str, Sequence[int]]

_MID = "mid_block.attentions.0.transformer_blocks.0."
_AUDIO = "mid_block.audio_modules.0.transformer_blocks.0."
_MOTION = "mid_block.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks."


def read_sizes(read: Callable[[], T], where: str) -> T:
    """What `read` tells from shapes; `where` is the file they are from. Raises EmoInputError where a tensor is missing
    that tells a size, or has not the dimensions to tell it."""
    try:
        return read()
    except KeyError as error:
        found, allowed = f"{where} without {brief_name(str(error.args[0]))!r}", "all tensors of the network"
        raise EmoInputError("model", found, allowed, AGAIN) from error
    except (IndexError, ZeroDivisionError) as error:
        found = f"{where} with tensors that no such network has ({error})"
        raise EmoInputError("model", found, "tensors of the usual shapes", AGAIN) from error


def _two(shape: Sequence[int]) -> tuple[int, int]:
    """The sizes of a matrix."""
    return shape[0], shape[1]


def below(shapes: Shapes, prefix: str) -> dict[str, Sequence[int]]:
    """The shapes whose names begin with `prefix`, without it."""
    return {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}


def count(names: Iterable[str], pattern: str) -> int:
    """How many different beginnings of the names match `pattern`."""
    return len({found.group(0) for name in names if (found := re.match(pattern, name))})


def unet_of(shapes: Shapes, base: UNetConfig, identity: Shapes | None = None) -> UNetConfig:
    """`base` with the sizes of a backbone of these shapes; `identity` are those of Hallo's `imageproj`."""
    levels = count(shapes, r"down_blocks\.\d+\.")
    has_module = f"{_AUDIO}attn2_0.to_k.weight" in shapes
    audio = f"{_AUDIO}attn2_0.to_k.weight" if has_module else f"{_MID}attn2.to_k.weight"
    return dataclasses.replace(
        base,
        in_channels=shapes["conv_in.weight"][1],
        out_channels=shapes["conv_out.weight"][0],
        block_out_channels=tuple(shapes[f"down_blocks.{i}.resnets.0.conv1.weight"][0] for i in range(levels)),
        attention_levels=tuple(f"down_blocks.{i}.attentions.0.norm.weight" in shapes for i in range(levels)),
        layers_per_block=count(shapes, r"down_blocks\.0\.resnets\.\d+\."),
        audio_dim=shapes[audio][1],
        identity=identity_of(identity, base.identity) if identity else None,
        audio_module=(base.audio_module or AudioModuleConfig()) if has_module else None,
        motion=motion_of(shapes, base.motion),
    )


def motion_of(shapes: Shapes, base: MotionModuleConfig | None) -> MotionModuleConfig | None:
    """`shapes` of motion modules in AnimateDiff's form; None where there are none."""
    blocks = count(shapes, re.escape(_MOTION) + r"\d+\.")
    if blocks == 0:
        return None
    base = base or MotionModuleConfig()
    positions = shapes.get(f"{_MOTION}0.pos_encoder.pe", (1, base.max_length, 0))[1]  # AnimateDiff may not store them
    return dataclasses.replace(base, attention_blocks=blocks, max_length=positions)


def identity_of(shapes: Shapes, base: IdentityConfig | None) -> IdentityConfig:
    """`shapes` of Hallo's imageproj."""
    inner, embedding = _two(shapes["proj.weight"])
    width = shapes["norm.weight"][0]
    return dataclasses.replace(base or IdentityConfig(), embedding=embedding, tokens=inner // width, width=width)


def face_locator_of(shapes: Shapes, base: FaceLocatorConfig) -> FaceLocatorConfig:
    channels = [shapes["conv_in.weight"][0]]
    while f"blocks.{2 * len(channels) - 1}.weight" in shapes:
        channels.append(shapes[f"blocks.{2 * len(channels) - 1}.weight"][0])
    return dataclasses.replace(base, in_channels=shapes["conv_in.weight"][1], channels=tuple(channels))


def mlp_projection_of(shapes: Shapes, base: AudioProjectionConfig) -> AudioProjectionConfig:
    """`shapes` of Hallo's audioproj."""
    tokens = shapes["proj3.weight"][0] // shapes["norm.weight"][0]
    return dataclasses.replace(base, tokens=tokens, hidden=shapes["proj1.weight"][0])


def resampler_of(shapes: Shapes, base: AudioProjectionConfig) -> AudioProjectionConfig:
    """`shapes` of V-Express's audio_projection; heads are as wide as `base` says (64), or as many (12)."""
    queries, width = _two(shapes["latents"][1:])
    inner = shapes["layers.0.0.to_q.weight"][0]
    dim_head = base.dim_head if inner % base.dim_head == 0 else inner // base.resampler_heads
    return dataclasses.replace(
        base,
        tokens=queries,
        depth=count(shapes, r"layers\.\d+\."),
        resampler_dim=width,
        dim_head=dim_head,
        resampler_heads=inner // dim_head,
        ff_mult=shapes["layers.0.1.1.weight"][0] // width,
    )


def wav2vec2_of(shapes: Shapes, base: AudioEncoderConfig) -> AudioEncoderConfig:
    """`shapes` under AudioEncoder's names (see `audio.encoder.wav2vec2_state`). Strides are `base`'s; heads are 64
    wide, as in all that were released, where that can be."""
    layers = count(shapes, r"feature_extractor\.conv_layers\.\d+\.")
    convolutions = [shapes[f"feature_extractor.conv_layers.{i}.conv.weight"] for i in range(layers)]
    hidden = shapes["encoder.layer_norm.weight"][0]
    position = shapes["encoder.pos_conv_embed.conv.parametrizations.weight.original1"]
    return dataclasses.replace(
        base,
        conv_dim=tuple(shape[0] for shape in convolutions),
        conv_kernel=tuple(shape[2] for shape in convolutions),
        conv_norm="layer" if "feature_extractor.conv_layers.1.layer_norm.weight" in shapes else "group",
        conv_bias="feature_extractor.conv_layers.0.conv.bias" in shapes,
        hidden_size=hidden,
        heads=hidden // 64 if hidden % 64 == 0 else next(n for n in (4, 2, 1) if hidden % n == 0),
        layers=count(shapes, r"encoder\.layers\.\d+\."),
        intermediate_size=shapes["encoder.layers.0.feed_forward.intermediate_dense.weight"][0],
        pos_conv_kernel=position[2],
        pos_conv_groups=hidden // position[1],
    )


def vae_of(shapes: Shapes, base: VAEConfig) -> VAEConfig:
    """`shapes` of an AutoencoderKL under diffusers' names."""
    levels = count(shapes, r"encoder\.down_blocks\.\d+\.")
    return dataclasses.replace(
        base,
        latent_channels=shapes["decoder.conv_in.weight"][1],
        block_out_channels=tuple(shapes[f"encoder.down_blocks.{i}.resnets.0.conv1.weight"][0] for i in range(levels)),
        layers_per_block=count(shapes, r"encoder\.down_blocks\.0\.resnets\.\d+\."),
    )
