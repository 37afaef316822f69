"""One part of a model from disk: in, a name or path and which part; out, a ModelPart, without the memory of the rest.

The part comes out of a whole model, out of a file that holds it alone under the same names, or out of a released file
by its own names: SD1.5's U-Net as ReferenceNet, its AutoencoderKL as VAE, a wav2vec2 folder as audio encoder.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..config import EMO_SD15, AudioEncoderConfig, EmoConfig
from ..config.fields import brief, from_plain, hints, refuse_impossible
from ..errors import EmoInputError
from ..files import readable_file, shown
from .build import assign, suitable_dtype, without_memory
from .kinds import WHOLE_SD, recognise, refuse_bare
from .locate import resolve
from .read import AGAIN, CONFIG_FILE, read_tensors, refuse_nan
from .saved import read_checkpoint, saved_here
from .shapes import read_sizes, vae_of
from .spellings import unet_state, vae_state

if TYPE_CHECKING:
    from ..models.parts import ModelPart

# What inspect calls the U-Nets that ReferenceNet can start from.
_SD15_UNETS = ("Stable Diffusion 1.5's U-Net", "a ReferenceNet from SD1.5 (V-Express's form)")
MAX_HUB_CONFIG = 1_000_000  # bytes; wav2vec2's has about 2000
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def load_part(
    name: str | Path,
    part: str,
    family: str | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    default_dtype: torch.dtype = torch.float32,
) -> ModelPart:
    """The part ("backbone", "reference_net", "audio_encoder" or "vae") that `name` holds, ready for inference.

    Without a `dtype` in `default_dtype`, or in float32 where the model does not fit into that (`suitable_dtype`).
    Raises EmoInputError for a file that holds no such part, or one that is missing, damaged or of another `family`.
    """
    from ..models.parts import PART_MODULES, ModelPart

    path = resolve(name)
    is_hub = path.is_dir() and (path / CONFIG_FILE).exists() and not saved_here(path)
    tensors, stored = read_hub_folder(path) if is_hub else read_checkpoint(path)
    refuse_nan(tensors, path)
    config = stored or EMO_SD15
    if stored is None or not any(key.split(".")[0] in PART_MODULES for key in tensors):
        tensors, config = _released(path, tensors, part, config)
    if family is not None and family != config.family:
        raise EmoInputError("family", repr(family), f"{config.family!r}, which {path.name} says it is")
    modules = PART_MODULES[part]
    tensors = {key: value for key, value in tensors.items() if key.split(".")[0] in modules}
    if not tensors:
        found = f"{path.name}, which holds other parts of {config.name}"
        raise EmoInputError("model", found, f"a file with its {part.replace('_', ' ')}")
    if dtype is None:
        dtype = suitable_dtype(config, default_dtype)
    refuse_nan(tensors, path, dtype)
    built = ModelPart(part, config, {module: _build(module, config) for module in modules})
    assign(built, tensors, device=torch.device(device), dtype=dtype, where=path.name)
    return built


def _build(module: str, config: EmoConfig) -> nn.Module | None:
    """One module of EmoModel, parameters on the meta device."""
    from ..audio import audio_encoder
    from ..models.emo import audio_projection
    from ..models.face_locator import FaceLocator
    from ..models.posed_portrait import PosedPortrait
    from ..models.reference_net import ReferenceNet
    from ..models.speed_layers import SpeedLayers
    from ..models.unet import Backbone
    from ..models.vae import VAE

    speed, posed = config.unet.speed, config.posed_portrait
    makers: dict[str, Any] = {
        "backbone": lambda: Backbone(config.unet),
        "audio_projection": lambda: audio_projection(config),
        "face_locator": lambda: FaceLocator(config.face_locator, config.unet.block_out_channels[0]),
        "speed_layers": None if speed is None else lambda: SpeedLayers(speed),
        "posed_portrait": None if posed is None else lambda: PosedPortrait(posed, config.vae.latent_channels),
        "reference_net": lambda: ReferenceNet(config.unet),
        "audio_encoder": lambda: audio_encoder(config.audio_encoder),
        "vae": lambda: VAE(config.vae),
    }
    make = makers[module]
    return None if make is None else without_memory(make)


def _released(
    path: Path, tensors: Mapping[str, Tensor], part: str, config: EmoConfig
) -> tuple[dict[str, Tensor], EmoConfig]:
    """A released file's tensors under our names. Raises EmoInputError if it is not this part of anything."""
    kind = recognise(tensors)
    if kind.description == WHOLE_SD and part in ("reference_net", "vae"):
        inner = unet_state(tensors) if part == "reference_net" else vae_state(tensors)
        return _released(path, inner, part, config)
    if part == "audio_encoder" and kind.part == "audio_encoder":
        from ..audio.encoder import wav2vec2_state

        return {f"audio_encoder.{key}": value for key, value in wav2vec2_state(tensors).items()}, config
    if part == "vae" and kind.part == "vae":
        named = vae_state(tensors)
        vae = read_sizes(lambda: vae_of({key: value.shape for key, value in named.items()}, config.vae), path.name)
        config = dataclasses.replace(config, vae=vae).refuse_impossible("model")
        return {f"vae.autoencoder.{key}": value for key, value in named.items()}, config
    if part == "reference_net" and kind.description in _SD15_UNETS:
        net: Any = _build("reference_net", config)
        read = {key: value for key, value in tensors.items() if not net.is_unread(key)}
        return {f"reference_net.{key}": value for key, value in read.items()}, config
    refuse_bare(kind, path)
    remedy = "Choose a model that EMO saved, or the file of this part."
    found = f"{path.name}, which looks like {kind.description}"
    raise EmoInputError("model", found, f"a file with the {part.replace('_', ' ')} of a model", remedy)


# AudioEncoderConfig's fields -> what transformers calls them.
_HUB_FIELDS = {
    "conv_dim": "conv_dim",
    "conv_kernel": "conv_kernel",
    "conv_stride": "conv_stride",
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "pos_conv_kernel": "num_conv_pos_embeddings",
    "pos_conv_groups": "num_conv_pos_embedding_groups",
    "conv_norm": "feat_extract_norm",
    "conv_bias": "conv_bias",
    "pre_norm": "do_stable_layer_norm",
}


def read_hub_folder(path: Path) -> tuple[dict[str, Tensor], EmoConfig]:
    """A folder as transformers saves it: config.json beside the weights. Only wav2vec2 is known."""
    said = _hub_config(path)
    file = next((path / name for name in _HUB_FILES if (path / name).is_file()), None)
    if file is None:
        raise EmoInputError("model", f"the folder {path.name} without {' or '.join(_HUB_FILES)}", "a whole download")
    types = hints(AudioEncoderConfig)
    given = {
        ours: from_plain(types[ours], said[theirs], f"{CONFIG_FILE} {theirs}")
        for ours, theirs in _HUB_FIELDS.items()
        if theirs in said
    }
    encoder = AudioEncoderConfig(**given)
    refuse_impossible(encoder, CONFIG_FILE)
    tensors, _ = read_tensors(file)
    return tensors, dataclasses.replace(EMO_SD15, name=shown(path.name), audio_encoder=encoder)


def _hub_config(path: Path) -> dict[str, Any]:
    """What config.json says. Raises EmoInputError for any other model than wav2vec2."""
    found = f"the folder {path.name} with a {CONFIG_FILE} that"
    file = readable_file(path / CONFIG_FILE, name="model", allowed=f"the {CONFIG_FILE} of a wav2vec2", again=AGAIN)
    if file.stat().st_size > MAX_HUB_CONFIG:
        raise EmoInputError("model", f"{found} has {file.stat().st_size} bytes", f"at most {MAX_HUB_CONFIG}", AGAIN)
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)[:100]
        raise EmoInputError("model", f"{found} cannot be read ({reason})", "JSON", AGAIN) from error
    kind = said.get("model_type") if isinstance(said, dict) else None
    if kind != "wav2vec2":
        raise EmoInputError("model", f"{found} is of {brief(kind)}", "a wav2vec2 folder")
    return dict(said)
