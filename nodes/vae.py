"""The VAE on a socket: EMO's own part, or core's VAE for models in Stable Diffusion's latents, under one interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..emo_core.config import EmoConfig, VAEConfig
from ..emo_core.data import PortraitDetail
from ..emo_core.errors import EmoInputError
from ..emo_core.fingerprint import fingerprint
from ..emo_core.models.parts import check_vae
from ..emo_core.pipeline.placement import dtype_of
from .host import LoadedPart


@dataclass(frozen=True)
class ChosenVAE:
    """`network` encodes and decodes as emo_core's VAE does; `patchers` are what the host loads before."""

    network: Any
    patchers: list[Any]
    identity: str
    config: VAEConfig

    def bytes_to_encode(self, picture: Tensor) -> float:
        """About what one picture (H, W, 3) takes."""
        return self.bytes_for(side=picture.shape[0], frames=1)

    def bytes_for(self, *, side: int, frames: int) -> float:
        """About what encoding or decoding `frames` pictures of this side takes at once."""
        size = torch.finfo(dtype_of(self.network)).bits // 8
        return vae_bytes(self.config, side=side, frames=frames, bytes_each=size)


class CoreVAE(nn.Module):
    """Core's VAE with emo_core's interface. Core brings it to the device itself, whenever it is used."""

    def __init__(self, vae: Any, scaling_factor: float) -> None:
        super().__init__()
        self.scaling_factor = scaling_factor
        self.place = nn.Parameter(torch.zeros(1), requires_grad=False)  # pictures and latents are handed over here
        self._vae = [vae]  # in a list, so that it is no submodule: its device is core's business

    def detail(self, picture: Tensor) -> PortraitDetail | None:
        """None: core's VAE decodes without a portrait."""
        return None

    def encode(self, pictures: Tensor) -> Tensor:
        """(b, 3, H, W) in -1..1 -> latents (b, c, h, w), scaled."""
        latents: Tensor = self._vae[0].encode(((pictures + 1) / 2).movedim(1, -1))
        return latents.to(pictures) * self.scaling_factor

    def decode(self, latents: Tensor, detail: PortraitDetail | None = None) -> Tensor:
        """Latents (b, c, h, w) -> (b, 3, H, W) in -1..1."""
        pictures: Tensor = self._vae[0].decode(latents / self.scaling_factor)
        return pictures.movedim(-1, 1).to(latents) * 2 - 1

    def __deepcopy__(self, memo: dict[int, Any]) -> CoreVAE:
        return self  # what is copied to be repeated in float32 is the rest of the model


def vae_of(vae: Any, config: EmoConfig) -> ChosenVAE:
    """The VAE on a socket, if it makes the latents of the model of `config`. Raises EmoInputError if not."""
    if isinstance(vae, LoadedPart):
        check_vae(vae.part.config.vae, config)
        return ChosenVAE(vae.part.main, [vae.patcher], vae.identity, vae.part.config.vae)
    found = core_vae_config(vae, config.vae.scaling_factor)
    check_vae(found, config)
    return ChosenVAE(CoreVAE(vae, found.scaling_factor), [], core_identity(vae), found)


def core_vae_config(vae: Any, scaling_factor: float) -> VAEConfig:
    """What a VAE object of core is, as far as it matters here. The scaling is the model's, core's VAE has none."""
    channels, step = getattr(vae, "latent_channels", None), getattr(vae, "downscale_ratio", None)
    if not isinstance(channels, int) or not isinstance(step, int) or getattr(vae, "latent_dim", 2) != 2:
        remedy = "Connect the vae output of EMO Load Model."
        raise EmoInputError("vae", "a VAE for video or sound", "a VAE for pictures", remedy)
    levels = step.bit_length()
    return VAEConfig("kl", channels, scaling_factor, block_out_channels=(128,) * levels)


def core_identity(vae: Any) -> str:
    """Told from some of its weights: core's VAE does not know which file it came from."""
    parameters = list(vae.first_stage_model.parameters())
    return fingerprint([len(parameters), *(parameter.float() for parameter in (*parameters[:4], *parameters[-4:]))])


def vae_bytes(config: VAEConfig, *, side: int, frames: int, bytes_each: int) -> float:
    """About what encoding or decoding `frames` pictures of this side takes at once, in numbers of `bytes_each`.

    17 maps at full size of the widest layer there, as core reckons for Stable Diffusion's VAE (2178 values a pixel). A
    VAE that reads the portrait carries its pixels in float32, 24 values each, of which counting finds 16 to 22; with a
    level at half of its size that takes more where pictures are small: 40 values a pixel as it sees them (31).
    """
    if config.kind == "referenced":
        return frames * max(side**2 * 24, config.size**2 * (40 if config.finest else 24)) * 4
    if config.kind == "kl":
        step, width = 1, config.block_out_channels[0]
    else:
        step, width = config.unshuffle, max(config.decoder_width, *config.decoder_channels)
    return frames * (side / step) ** 2 * width * 17 * bytes_each
