"""Any checkpoint that is known here, written as safetensors with its configuration inside.

A whole model (ours, or a released one with all its files) becomes one of EMO's own form. A part alone (an image VAE, an
audio encoder, SD1.5's U-Net, motion modules ...) keeps its own names, in their present spelling: so a converted file
stands wherever the released one did. Of a whole Stable Diffusion checkpoint one part is taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..audio.encoder import wav2vec2_state
from ..config import EMO_SD15, EmoConfig
from ..errors import EmoInputError
from ..files import expanded
from .file import load_model
from .kinds import WHOLE_SD, Kind, recognise, refuse_bare
from .locate import resolve, weight_files
from .part import read_hub_folder
from .read import CONFIG_FILE, SAFETENSORS, read_tensors, refuse_nan
from .released import PRESET, gather
from .save import is_one_file, refuse_output, refuse_source, save_model, save_tensors
from .saved import model_files, saved_here
from .shapes import motion_of, read_sizes, unet_of, vae_of, wav2vec2_of
from .spellings import unet_state, vae_state

SD_PARTS = ("unet", "vae")


def convert(
    name: str | Path,
    output: Path,
    *,
    family: str | None = None,
    dtype: torch.dtype | None = torch.float16,
    part: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write what `name` holds to `output`; the files written. `part`: of a whole Stable Diffusion checkpoint, "unet"
    (what is taken without it) or "vae". `overwrite`: an earlier save of EMO's at `output` is replaced.

    Raises EmoInputError for what is not known, not whole, not finite, or does not fit into `dtype`, and for an output
    that is the checkpoint itself or somebody else's (`save.refuse_output`), before any weights are read.
    """
    path, output = resolve(name), expanded(output)
    refuse_source(path, [], output)
    refuse_output(output, overwrite=overwrite)
    ours = saved_here(path)
    gathered = None if ours else gather(path, family)
    if ours or gathered is not None:
        if part is not None:
            whole = "a whole EMO model" if gathered is None else f"a whole model of the family {gathered.family}"
            raise EmoInputError("part", f"{part!r} of {whole}", "none: a model is written whole")
        refuse_source(path, model_files(path) if gathered is None else gathered.files.values(), output)
        model = load_model(path, family, device="cpu", dtype=dtype)
        return save_model(model, output, dtype=dtype, overwrite=overwrite)
    if not is_one_file(output):
        raise EmoInputError("output", f"{output.name} for a part of a model", f"a name ending in {SAFETENSORS}")
    refuse_source(path, weight_files(path), output)
    tensors, config = _read(path)
    kind = recognise(tensors)
    if kind.part == "unknown":
        allowed = "a model, or a part of one: image VAE, U-Net, motion modules, audio encoder"
        raise EmoInputError("model", f"{path.name}, which looks like {kind.description}", allowed)
    refuse_bare(kind, path)
    tensors, config = read_sizes(lambda: _respelled(tensors, kind, config, part), path.name)
    if not tensors:
        raise EmoInputError("model", f"{path.name} without a {part}", "a file that holds it")
    refuse_nan(tensors, path)
    config.refuse_impossible("model")
    return [save_tensors(tensors, config, output, dtype=dtype, overwrite=overwrite)]


def _read(path: Path) -> tuple[dict[str, Tensor], EmoConfig]:
    """The tensors of a part, and the configuration beside them, if any."""
    if path.is_dir() and (path / CONFIG_FILE).is_file():
        return read_hub_folder(path)
    files = weight_files(path)
    if len(files) != 1:
        found = f"the folder {path.name} with {len(files)} files of weights that make no model"
        raise EmoInputError("model", found, "one file, or the folder of a whole model")
    return read_tensors(files[0])[0], EMO_SD15


def _respelled(
    tensors: Mapping[str, Tensor], kind: Kind, config: EmoConfig, part: str | None
) -> tuple[dict[str, Tensor], EmoConfig]:
    """A part's tensors in the spelling that is usual now, and `config` with the part's own sizes."""
    wanted = "unet" if part is None and kind.description == WHOLE_SD else part
    if wanted is not None and kind.description != WHOLE_SD:
        raise EmoInputError("part", f"{wanted!r} of {kind.description}", "none: the file holds one part alone")
    if kind.part == "vae" or wanted == "vae":
        named = vae_state(tensors)
        return named, dataclasses.replace(config, vae=vae_of(_shapes(named), config.vae)) if named else config
    if kind.part == "audio_encoder" and kind.family is None:
        named = wav2vec2_state(tensors)
        if config is EMO_SD15:
            config = dataclasses.replace(config, audio_encoder=wav2vec2_of(_shapes(named), config.audio_encoder))
        return named, config
    if kind.part == "audio_encoder":  # Whisper: of its two networks the one that listens
        return {name: value for name, value in tensors.items() if "encoder." in name}, PRESET["echomimic"]
    if kind.part == "motion":
        motion = motion_of(_shapes(tensors), config.unet.motion)
        config = dataclasses.replace(config, unet=dataclasses.replace(config.unet, motion=motion))
        return {name: value for name, value in tensors.items() if not name.endswith(".pe")}, config
    if kind.part == "backbone" and kind.family is None:
        named = unet_state(tensors)
        unet = dataclasses.replace(unet_of(_shapes(named), config.unet), motion=config.unet.motion)
        return named, dataclasses.replace(config, unet=unet)
    return dict(tensors), PRESET.get(str(kind.family), config)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}
