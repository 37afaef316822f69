"""Loaders: a name of the list in, the parts of a model in the host's care out. Nothing goes to a device yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from ..emo_core.models.float8 import store_in_float8
from ..emo_core.models.parts import split_model
from ..emo_core.weights.file import load_model
from ..emo_core.weights.folder import file_identity, find_model, missing_model, model_names
from ..emo_core.weights.part import load_part
from . import host
from .schema import VAE, AudioEncoder, Backbone, ReferenceNet, checked, make_input, make_schema

FAMILIES = ["auto", "emo", "v_express", "hallo", "echomimic"]
PRECISIONS = ["auto", *host.DTYPES, "float8"]


def loader_inputs() -> list[Any]:
    """What all loaders ask for. The list of models is read anew every time the host asks for the schema."""
    names = model_names(host.model_folders())
    return [
        make_input(
            io.Combo,
            "model",
            options=names,
            default=names[0],
            tooltip="emo-mini is bundled. Other models are found in ComfyUI's models/emo folder, in folders of the "
            "name emo in extra_model_paths.yaml, and in EMO_MODELS_DIR.",
        ),
        make_input(
            io.Combo,
            "family",
            options=FAMILIES,
            default="auto",
            advanced=True,
            tooltip="Which kind of model the file holds. auto: what the file says of itself.",
        ),
        make_input(
            io.Combo,
            "precision",
            options=PRECISIONS,
            default="auto",
            advanced=True,
            tooltip="The number format of the weights. auto: float16 where the graphics card is good at it and the "
            "model fits into it, else float32. float32 is the safest, and what to try when pictures come out black or "
            "noisy. float8: as auto, but linear layers are kept in 8 bits: a full-size model takes a fifth less "
            "memory, its pictures change a little.",
        ),
    ]


@dataclass(frozen=True)
class Asked:
    """What a loader was asked for, looked up."""

    path: Path
    family: str | None
    dtype: torch.dtype | None  # None: `default_dtype`, if the model can be computed in it
    default_dtype: torch.dtype
    float8: bool

    @property
    def identity(self) -> str:
        kind = f"{self.dtype}" if self.dtype else f"at most {self.default_dtype}"
        return f"{file_identity(self.path)} {kind}{' float8' if self.float8 else ''}"


def look_up(model: str, family: str, precision: str) -> Asked:
    """The file or folder behind a name. Raises EmoInputError that says where it belongs and where to get it."""
    folders = host.model_folders()
    path = find_model(model, folders)
    if path is None:
        raise missing_model(model, folders)
    return Asked(
        path=path,
        family=None if family == "auto" else family,
        dtype=host.DTYPES.get(precision),
        default_dtype=host.working_dtype(),
        float8=precision == "float8",
    )


class Loader(io.ComfyNode):
    """What the loaders share: their cache key is the state of the file, and a missing file is named before a run."""

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        if model is None:  # linked: its value is not known yet
            return True
        folders = host.model_folders()
        if find_model(model, folders):
            return True
        missing = missing_model(model, folders)
        return str(missing).removeprefix(f"{missing.name}: ")  # the host says the input's name itself

    @classmethod
    def fingerprint_inputs(cls, model: str | None = None, **others: Any) -> str:
        path = None if model is None else find_model(model, host.model_folders())
        return "unknown" if path is None else file_identity(path)


def load_one(model: str, part: str, *, family: str, precision: str) -> host.LoadedPart:
    """One part from its file, in main memory, in the host's care."""
    asked = look_up(model, family, precision)
    loaded = load_part(asked.path, part, asked.family, dtype=asked.dtype, default_dtype=asked.default_dtype)
    if asked.float8:
        store_in_float8(loaded)
    return host.manage(loaded, f"{part} {asked.identity}")


class LoadModel(Loader):
    """A whole model: its four parts."""

    @classmethod
    def define_schema(cls) -> Any:
        return make_schema(
            node_id="EMO_LoadModel",
            display_name="EMO Load Model",
            description="Loads a whole EMO model: the network that paints, the one that looks at the portrait, the one "
            "that listens, and the VAE.",
            search_aliases=["emo", "talking head", "portrait animation", "lip sync", "audio driven"],
            inputs=loader_inputs(),
            outputs=[
                Backbone.Output(display_name="backbone", tooltip="Paints the frames. For EMO Sampler."),
                ReferenceNet.Output(
                    display_name="reference_net", tooltip="Looks at the portrait. For EMO Encode Reference."
                ),
                AudioEncoder.Output(display_name="audio_encoder", tooltip="Listens. For EMO Encode Audio."),
                VAE.Output(
                    display_name="vae",
                    tooltip="Turns pictures into latents and back. For EMO Encode Reference and EMO Sampler.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(cls, model: str, family: str, precision: str) -> Any:
        asked = look_up(model, family, precision)
        loaded = load_model(
            asked.path, asked.family, device="cpu", dtype=asked.dtype, default_dtype=asked.default_dtype
        )
        if asked.float8:
            store_in_float8(loaded)
        parts = split_model(loaded)
        kinds = ("backbone", "reference_net", "audio_encoder", "vae")
        return io.NodeOutput(*(host.manage(parts[kind], f"{kind} {asked.identity}") for kind in kinds))


class LoadReferenceNet(Loader):
    """ReferenceNet alone."""

    @classmethod
    def define_schema(cls) -> Any:
        return make_schema(
            node_id="EMO_LoadReferenceNet",
            display_name="EMO Load ReferenceNet",
            description="Loads the network that looks at the portrait, from an EMO model or from the U-Net of Stable "
            "Diffusion 1.5.",
            inputs=loader_inputs(),
            outputs=[
                ReferenceNet.Output(
                    display_name="reference_net", tooltip="Looks at the portrait. For EMO Encode Reference."
                )
            ],
        )

    @classmethod
    @checked
    def execute(cls, model: str, family: str, precision: str) -> Any:
        return io.NodeOutput(load_one(model, "reference_net", family=family, precision=precision))


class LoadBackbone(Loader):
    """The backbone alone."""

    @classmethod
    def define_schema(cls) -> Any:
        return make_schema(
            node_id="EMO_LoadBackbone",
            display_name="EMO Load Backbone",
            description="Loads the network that paints the frames, with its audio projection, face locator and speed "
            "layers.",
            inputs=loader_inputs(),
            outputs=[Backbone.Output(display_name="backbone", tooltip="Paints the frames. For EMO Sampler.")],
        )

    @classmethod
    @checked
    def execute(cls, model: str, family: str, precision: str) -> Any:
        return io.NodeOutput(load_one(model, "backbone", family=family, precision=precision))


class LoadAudioEncoder(Loader):
    """The audio encoder alone."""

    @classmethod
    def define_schema(cls) -> Any:
        return make_schema(
            node_id="EMO_LoadAudioEncoder",
            display_name="EMO Load Audio Encoder",
            description="Loads the network that listens, from an EMO model or from a wav2vec2 folder (config.json and "
            "weights).",
            inputs=loader_inputs(),
            outputs=[AudioEncoder.Output(display_name="audio_encoder", tooltip="Listens. For EMO Encode Audio.")],
        )

    @classmethod
    @checked
    def execute(cls, model: str, family: str, precision: str) -> Any:
        return io.NodeOutput(load_one(model, "audio_encoder", family=family, precision=precision))
