"""Schemas that every ComfyUI from 0.3.75 on takes, and the types of EMO's sockets.

Newer hosts know more fields than older ones, and the older ones raise TypeError for them: what a host does not know is
left out here, so that a node simply says all it has to say.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

from comfy_api.latest import io

from ..emo_core.errors import EmoInputError

CATEGORY = "EMO"

Backbone = io.Custom("EMO_BACKBONE")
ReferenceNet = io.Custom("EMO_REFERENCE_NET")
AudioEncoder = io.Custom("EMO_AUDIO_ENCODER")
VAE = io.Custom("EMO_VAE")
Portrait = io.Custom("EMO_PORTRAIT")
Reference = io.Custom("EMO_REFERENCE")
Audio = io.Custom("EMO_AUDIO")
Control = io.Custom("EMO_CONTROL")


def checked(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Around a node's `execute`: an input that brings nothing, where there is no default and None is no type of the
    parameter's, or a number that is none, is told by name. Raises EmoInputError."""
    signature = inspect.signature(execute)
    needed = {
        name
        for name, parameter in signature.parameters.items()
        if parameter.default is parameter.empty and "None" not in str(parameter.annotation)
    }

    @functools.wraps(execute)
    def wrapped(*args: Any, **named: Any) -> Any:
        for name, value in {**signature.bind_partial(*args, **named).arguments, **named}.items():
            if value is None and name in needed:
                remedy = "The node that is linked there gave nothing; see whether it is switched off or has failed."
                raise EmoInputError(name, "nothing", "what the socket is for", remedy)
            if isinstance(value, float) and not math.isfinite(value):
                raise EmoInputError(name, f"{value}", "a number")
        return execute(*args, **named)

    return wrapped


def make_schema(**fields: Any) -> Any:
    """An `io.Schema` in EMO's category, of the fields that this host knows."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(**{name: value for name, value in {"category": CATEGORY, **fields}.items() if name in known})


def make_input(kind: Any, name: str, **options: Any) -> Any:
    """An input of a type such as `io.Int`, with the options that this host knows."""
    known = inspect.signature(kind.Input.__init__).parameters
    return kind.Input(name, **{option: value for option, value in options.items() if option in known})


def vae_input() -> Any:
    """EMO's VAE, or core's for models that work in Stable Diffusion's latents."""
    return io.MultiType.Input(
        "vae",
        types=[VAE, io.Vae],
        tooltip="The VAE of the same model. Models in Stable Diffusion's latents also take core's VAE.",
    )


def check_single(name: str, images: Any) -> None:
    """Raises EmoInputError for a batch of pictures where one is wanted, with the nodes that make one of it."""
    if getattr(images, "ndim", 0) == 4 and len(images) != 1:
        remedy = "ImageFromBatch selects one of them; RebatchImages with a batch_size of 1 makes a video of each."
        raise EmoInputError(name, f"a batch of {len(images)} pictures", "one picture", remedy)


def check_choice(name: str, value: str, options: Sequence[str]) -> None:
    """Raises EmoInputError for a value that is not in the list: not every host checks what a prompt asks for."""
    if value not in options:
        raise EmoInputError(name, repr(value), f"one of {', '.join(options)}")
