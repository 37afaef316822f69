"""The VAE that the latents live in: pictures (b, 3, H, W) in -1..1 to latents (b, c, h, w) and back.

`kl` is SD's AutoencoderKL (paper 3.1: SD1.5's VAE). `tiny` is diffusers' AutoencoderTiny, which has no normalisation
layers and so trains quickly on a CPU, over pixel-unshuffled pictures: full-resolution convolutions cost most and see
least (shared trial: 31-37 pictures a second against 13-16). `referenced` is our own (models/referenced_autoencoder.py):
its decoder is given the portrait, as a `PortraitDetail`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import VAEConfig
from ..data import PortraitDetail
from ..errors import EmoInputError
from ..libraries import importing
from .flow import shrunk
from .referenced_autoencoder import Draft, ReferencedAutoencoder

ENCODING = ("autoencoder.encoder.", "autoencoder.quant_conv.")  # the parameters that decide what latents say


class VAE(nn.Module):
    """Encode and decode with the configuration's scaling already applied. `autoencoder` is diffusers' own module, or
    a ReferencedAutoencoder."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        if config.channel_scale and len(config.channel_scale) != config.latent_channels:
            allowed = f"{config.latent_channels}, one for each latent channel"
            raise EmoInputError("channel_scale", f"{len(config.channel_scale)} values", allowed)
        build = {"kl": _build_kl, "dc": _build_dc, "tiny": _build_tiny, "referenced": ReferencedAutoencoder}
        self.autoencoder: Any = build[config.kind](config)

    @property
    def reads_portrait(self) -> bool:
        """Whether `decode` must be given the portrait's detail."""
        return self.config.kind == "referenced"

    def encode(self, pictures: Tensor) -> Tensor:
        """(b, 3, H, W) in -1..1 -> latents (b, c, h, w), scaled; the posterior's mean where there is a posterior.
        `referenced` shrinks pictures to its own size first: the latents of all crops are of one size."""
        latents: Tensor
        if self.reads_portrait:
            latents = self.autoencoder.encode(self._shrunk(pictures))
        elif self.config.kind == "kl":
            latents = self.autoencoder.encode(pictures).latent_dist.mode()
        else:
            encoded = self.autoencoder.encode(F.pixel_unshuffle(pictures, self.config.unshuffle))
            latents = encoded.latent if self.config.kind == "dc" else encoded.latents
        return latents * self.scale(latents)

    def detail(self, picture: Tensor) -> PortraitDetail | None:
        """What `decode` is given of the portrait, (1, 3, H, W) in -1..1 at the video's size; None for VAEs that decode
        without. The picture is kept in its own type, which the frames then have."""
        if not self.reads_portrait:
            return None
        seen = self._shrunk(picture)
        return PortraitDetail(picture, self.encode(seen), self.autoencoder.read(seen))

    def decode(self, latents: Tensor, detail: PortraitDetail | None = None) -> Tensor:
        """Latents (b, c, h, w) -> (b, 3, H, W), nominally in -1..1 and not clamped; `referenced`: of the size and type
        of `detail.picture`. EmoInputError where it lacks the detail."""
        if self.reads_portrait:
            if detail is None:
                raise EmoInputError("detail", "none", "that of the portrait", "Decode with what VAE.detail makes.")
            return self.draft(latents, detail).over(detail.picture)
        pictures = self.autoencoder.decode(latents / self.scale(latents)).sample
        return pictures if self.config.kind == "kl" else F.pixel_shuffle(pictures, self.config.unshuffle)

    def draft(self, latents: Tensor, detail: PortraitDetail) -> Draft:
        """What `decode` puts together; `referenced` alone."""
        latents, portrait = (each / self.scale(each) for each in (latents, detail.latent))
        drawn: Draft = self.autoencoder.draft(latents, portrait, detail.features)
        return drawn

    def _shrunk(self, pictures: Tensor) -> Tensor:
        """Pictures as the referenced autoencoder sees them, in its own type."""
        return shrunk(pictures, self.config.size, self.config.size).to(self.dtype)

    def scale(self, latents: Tensor) -> float | Tensor:
        """What the autoencoder's latents (b, c, h, w) are multiplied by: a number, or one per channel (c, 1, 1)."""
        if not self.config.channel_scale:
            return self.config.scaling_factor
        return latents.new_tensor(self.config.channel_scale).view(-1, 1, 1) * self.config.scaling_factor

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


def _build_kl(config: VAEConfig) -> Any:
    with importing("diffusers"):
        from diffusers import AutoencoderKL

    levels = len(config.block_out_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=min(32, config.block_out_channels[0]),
    )


def _build_dc(config: VAEConfig) -> Any:
    with importing("diffusers"):
        from diffusers import AutoencoderDC

    folded = 3 * config.unshuffle**2
    return AutoencoderDC(
        in_channels=folded,
        latent_channels=config.latent_channels,
        encoder_block_out_channels=config.encoder_channels,
        encoder_layers_per_block=config.encoder_layers,
        encoder_qkv_multiscales=((),) * len(config.encoder_channels),
        decoder_block_out_channels=config.decoder_channels,
        decoder_layers_per_block=config.decoder_layers,
        decoder_qkv_multiscales=((),) * len(config.decoder_channels),
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=1.0,
    )


def _build_tiny(config: VAEConfig) -> Any:
    with importing("diffusers"):
        from diffusers import AutoencoderTiny

    folded = 3 * config.unshuffle**2
    return AutoencoderTiny(
        in_channels=folded,
        out_channels=folded,
        encoder_block_out_channels=(config.width,) * len(config.encoder_blocks),
        decoder_block_out_channels=(config.decoder_width,) * len(config.decoder_blocks),
        num_encoder_blocks=config.encoder_blocks,
        num_decoder_blocks=config.decoder_blocks,
        latent_channels=config.latent_channels,
    )
