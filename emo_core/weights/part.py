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
from ..errors import EmoInputError
from .file import assign, read_checkpoint, resolve, suitable_dtype, without_memory
from .inspect import WHOLE_SD, recognise
from .read import read_tensors, refuse_nan
from .shapes import vae_of
from .spellings import unet_state, vae_state

if TYPE_CHECKING:
    from ..models.parts import ModelPart

CONFIG_FILE = "config.json"  # of a transformers folder
# What inspect calls the U-Nets that ReferenceNet can start from.
_SD15_UNETS = ("Stable Diffusion 1.5's U-Net", "a ReferenceNet from SD1.5 (V-Express's form)")
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
    is_hub = path.is_dir() and (path / CONFIG_FILE).is_file()
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
        vae = vae_of({key: value.shape for key, value in named.items()}, config.vae)
        config = dataclasses.replace(config, vae=vae)
        return {f"vae.autoencoder.{key}": value for key, value in named.items()}, config
    if part == "reference_net" and kind.description in _SD15_UNETS:
        net: Any = _build("reference_net", config)
        read = {key: value for key, value in tensors.items() if not net.is_unread(key)}
        return {f"reference_net.{key}": value for key, value in read.items()}, config
    remedy = "Choose a model that EMO saved, or the file of this part."
    found = f"{path.name}, which looks like {kind.description}"
    raise EmoInputError("model", found, f"a file with the {part.replace('_', ' ')} of a model", remedy)


def read_hub_folder(path: Path) -> tuple[dict[str, Tensor], EmoConfig]:
    """A folder as transformers saves it: config.json beside the weights. Only wav2vec2 is known."""
    found = f"the folder {path.name} with a {CONFIG_FILE} that"
    try:
        said: dict[str, Any] = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EmoInputError("model", f"{found} cannot be read ({error})", "JSON", "Download it again.") from error
    if said.get("model_type") != "wav2vec2":
        raise EmoInputError("model", f"{found} is of {said.get('model_type')!r}", "a wav2vec2 folder")
    file = next((path / name for name in _HUB_FILES if (path / name).is_file()), None)
    if file is None:
        raise EmoInputError("model", f"the folder {path.name} without {' or '.join(_HUB_FILES)}", "a whole download")
    encoder = AudioEncoderConfig(
        conv_dim=tuple(said.get("conv_dim", AudioEncoderConfig.conv_dim)),
        conv_kernel=tuple(said.get("conv_kernel", AudioEncoderConfig.conv_kernel)),
        conv_stride=tuple(said.get("conv_stride", AudioEncoderConfig.conv_stride)),
        hidden_size=said.get("hidden_size", 768),
        layers=said.get("num_hidden_layers", 12),
        heads=said.get("num_attention_heads", 12),
        intermediate_size=said.get("intermediate_size", 3072),
        pos_conv_kernel=said.get("num_conv_pos_embeddings", 128),
        pos_conv_groups=said.get("num_conv_pos_embedding_groups", 16),
        conv_norm=said.get("feat_extract_norm", "group"),
        conv_bias=said.get("conv_bias", False),
        pre_norm=said.get("do_stable_layer_norm", False),
    )
    tensors, _ = read_tensors(file)
    return tensors, dataclasses.replace(EMO_SD15, name=path.name, audio_encoder=encoder)
