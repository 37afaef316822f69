"""Schemas that every ComfyUI from 0.3.75 on takes, and the types of EMO's sockets.

Newer hosts know more fields than older ones, and the older ones raise TypeError for them: what a host does not know is
left out here, so that a node simply says all it has to say.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import UnionType
from typing import Any

from comfy_api.latest import io

from ..emo_core.errors import EmoInputError, empty_batch
from .host import LoadedPart
from .values import REMEDY, as_declared, told

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
    """Around a node's `execute`: every input is `arrived` before anything is done with it."""
    names = list(inspect.signature(execute).parameters)[1:]

    @functools.wraps(execute)
    def wrapped(cls: Any, *args: Any, **named: Any) -> Any:
        return execute(cls, **arrived(cls, {**dict(zip(names, args, strict=False)), **named}))

    return wrapped


def arrived(node: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Inputs of a node by name, as its schema declares them: the host looks at what is typed, not at what comes through
    links. Nothing at all is an optional input's default. Where a node takes lists, each of a list is looked at; an
    input without a widget may have lists in its list. Raises EmoInputError."""
    schema, hints = node.define_schema(), typing.get_type_hints(node.execute)
    looked_up = inspect.signature(node.validate_inputs).parameters  # by the node itself, as the host understands it
    made = dict(given)
    for declared in schema.inputs:
        if declared.id in given:
            options = None if declared.id in looked_up else getattr(declared, "options", None)
            take = functools.partial(_one, declared, hint=hints.get(declared.id), options=options)
            value = given[declared.id]
            made[declared.id] = _each(declared, value, take) if schema.is_input_list else take(value)
    return made


def _one(declared: Any, value: Any, *, hint: Any, options: Sequence[str] | None) -> Any:
    """`hint`: of the parameter in the node's `execute`. None is among its types where the node has words of its own."""
    if value is not None:
        made = as_declared(declared, value, options=options)
        _check_class(declared, made, hint)
        return made
    if not declared.optional and type(None) not in typing.get_args(hint):
        remedy = "The node that is linked there gave nothing; see whether it is switched off or has failed."
        raise EmoInputError(declared.id, "nothing", "what the socket is for", remedy)
    return getattr(declared, "default", None)


def _check_class(declared: Any, value: Any, hint: Any) -> None:
    """Raises EmoInputError for an object of a class that the parameter has not, or another part of a model: nodes that
    switch between links of any type bring everything everywhere."""
    if isinstance(value, LoadedPart) and value.part.kind != declared.id:
        remedy = "Connect the output of that name, of EMO Load Model."
        raise EmoInputError(declared.id, f"the {value.part.kind} of a model", f"a {declared.id}", remedy)
    classes = _classes(hint)
    if classes and not isinstance(value, classes):
        raise EmoInputError(declared.id, told(value), str(declared.get_io_type()), REMEDY)


def _classes(hint: Any) -> tuple[type, ...]:
    """The plain classes among the types of a hint: not Any, None, or lists and mappings of something."""
    types = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, UnionType) else (hint,)
    plain = (kind for kind in types if inspect.isclass(kind) and typing.get_origin(kind) is None)
    return tuple(kind for kind in plain if kind not in (Any, type(None)))


def _each(declared: Any, value: Any, take: Callable[[Any], Any]) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if getattr(declared, "force_input", None):
        return _nested(values, take)
    return [take(each) for each in values or [None]]


def _nested(values: list[Any] | tuple[Any, ...], take: Callable[[Any], Any]) -> list[Any]:
    """The same of lists in lists, for which arrays are taken; what is nothing is left out."""
    made: list[Any] = []
    for value in values:
        if getattr(value, "ndim", 0):
            with suppress(RuntimeError):  # a tensor without data, which is told as anything else
                value = value.tolist()
        if value is not None:
            made.append(_nested(value, take) if isinstance(value, list | tuple) else take(value))
    return made


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
    if getattr(images, "ndim", 0) == 4 and len(images) == 0:
        raise empty_batch(name, "picture")
    if getattr(images, "ndim", 0) == 4 and len(images) != 1:
        remedy = "ImageFromBatch selects one of them; RebatchImages with a batch_size of 1 makes a video of each."
        raise EmoInputError(name, f"a batch of {len(images)} pictures", "one picture", remedy)
