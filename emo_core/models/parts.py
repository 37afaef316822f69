"""A model in the pieces a host moves and swaps one by one: backbone, ReferenceNet, audio encoder, VAE.

In: an EmoModel. Out: its `ModelPart`s; and back. A part keeps the configuration of the model it was made for, so that
parts which do not belong together are refused before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import nn

from ..config import EmoConfig, VAEConfig
from ..errors import EmoInputError
from .audio_projection import AudioProjection
from .emo import EmoModel
from .face_locator import FaceLocator
from .posed_portrait import PosedPortrait
from .reference_net import ReferenceNet
from .speed_layers import SpeedLayers
from .unet import Backbone

# Part -> the attributes of EmoModel in it; the first gives it its name. What is small and runs while denoising goes
# with the backbone.
PART_MODULES = {
    "backbone": ("backbone", "audio_projection", "face_locator", "speed_layers", "posed_portrait"),
    "reference_net": ("reference_net",),
    "audio_encoder": ("audio_encoder",),
    "vae": ("vae",),
}


class ModelPart(nn.Module):
    """Some modules of a model, under the names that weights files use, and the model's configuration."""

    def __init__(self, kind: str, config: EmoConfig, modules: Mapping[str, nn.Module | None]) -> None:
        super().__init__()
        self.kind, self.config = kind, config
        for name in PART_MODULES[kind]:
            self.add_module(name, modules[name])

    @property
    def main(self) -> nn.Module:
        """The network that the part is named after."""
        return cast(nn.Module, getattr(self, self.kind))


def split_model(model: EmoModel) -> dict[str, ModelPart]:
    """All parts of a model, sharing its modules."""
    return {
        kind: ModelPart(kind, model.config, {name: getattr(model, name) for name in names})
        for kind, names in PART_MODULES.items()
    }


def join_parts(backbone: ModelPart, reference_net: ModelPart, vae: nn.Module) -> EmoModel:
    """What `generate` needs of a model, put together from parts that share their modules with it: all but the audio
    encoder. `vae` is a VAE, or anything with its encode and decode. Raises EmoInputError for parts that do not fit.
    """
    check_reference_net(reference_net, backbone.config)
    model = EmoModel.__new__(EmoModel)
    nn.Module.__init__(model)
    model.config = backbone.config
    model.backbone = cast(Backbone, backbone.main)
    model.audio_projection = cast(AudioProjection, backbone.audio_projection)
    model.face_locator = cast(FaceLocator, backbone.face_locator)
    model.speed_layers = cast("SpeedLayers | None", backbone.speed_layers)
    model.posed_portrait = cast("PosedPortrait | None", backbone.posed_portrait)
    model.reference_net = cast(ReferenceNet, reference_net.main)
    model.add_module("vae", vae)
    return model


def check_reference_net(reference_net: ModelPart, config: EmoConfig) -> None:
    """Raises EmoInputError unless its features are those that the backbone of `config` reads."""
    if reference_net.config.unet != config.unet:
        found = f"the one of {reference_net.config.name}, for the backbone of {config.name}"
        remedy = "Load both with the same EMO Load Model node, or two files of one model."
        raise EmoInputError("reference_net", found, "a ReferenceNet with the backbone's own layers", remedy)


def check_vae(vae: VAEConfig, config: EmoConfig) -> None:
    """Raises EmoInputError unless a VAE of this shape makes the latents that the model of `config` was trained on.

    SD's VAE has many fine-tuned copies, so any AutoencoderKL with the same latents may stand for another.
    """
    own = config.vae
    same_space = (vae.latent_channels, vae.downscale, vae.scaling_factor) == (
        own.latent_channels,
        own.downscale,
        own.scaling_factor,
    )
    if vae == own or (vae.kind == own.kind == "kl" and same_space):
        return
    found = f"a VAE of kind {vae.kind!r} with {vae.latent_channels} channels, {vae.downscale} pixels per latent"
    allowed = f"the VAE of {config.name} ({own.kind!r}, {own.latent_channels} channels, {own.downscale} pixels)"
    raise EmoInputError("vae", found, allowed, "Connect the vae output of the node that loads this model.")


def check_audio_features(layers: int, width: int, config: EmoConfig) -> None:
    """Raises EmoInputError unless features (f, layers, width) are what the audio projection of `config` reads."""
    own = config.audio_encoder
    if (layers, width) != (own.states, own.hidden_size):
        found = f"features of {layers} layers, {width} wide"
        allowed = f"{own.states} layers, {own.hidden_size} wide, those of {config.name}'s audio encoder"
        raise EmoInputError("audio", found, allowed, "Encode the sound with the audio encoder of the same model.")
