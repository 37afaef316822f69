"""A whole model: the networks that one `EmoConfig` describes, under the names that weights files use.

backbone and reference_net denoise; audio_encoder and audio_projection turn sound into tokens; vae turns pictures into
latents and back; face_locator and speed_layers encode what a user steers (paper 3.2); posed_portrait, which only small
models have, turns the portrait's head.
"""

from __future__ import annotations

from torch import nn

from ..config import EmoConfig
from .audio_projection import AudioProjection, window_frames
from .face_locator import FaceLocator
from .posed_portrait import PosedPortrait
from .reference_net import ReferenceNet
from .speed_layers import SpeedLayers
from .unet import Backbone


class EmoModel(nn.Module):
    """The parts of a model. They are run by `pipeline` and `training`; there is no forward of the whole."""

    def __init__(self, config: EmoConfig) -> None:
        # Not at the top: the network alone needs neither transformers nor the VAE.
        from ..audio import audio_encoder
        from .vae import VAE

        super().__init__()
        self.config = config
        self.backbone = Backbone(config.unet)
        self.reference_net = ReferenceNet(config.unet)
        self.audio_encoder = audio_encoder(config.audio_encoder)
        self.audio_projection = audio_projection(config)
        self.vae = VAE(config.vae)
        self.face_locator = FaceLocator(config.face_locator, config.unet.block_out_channels[0])
        self.speed_layers = None if config.unet.speed is None else SpeedLayers(config.unet.speed)
        posed = config.posed_portrait
        self.posed_portrait = None if posed is None else PosedPortrait(posed, config.vae.latent_channels)


def audio_projection(config: EmoConfig) -> AudioProjection:
    """The projection between a model's audio encoder and its backbone."""
    encoder, projection = config.audio_encoder, config.audio_projection
    return AudioProjection(
        projection,
        layers=encoder.states if projection.features == "all_layers" else 1,
        width=encoder.hidden_size,
        window_frames=window_frames(projection),
        audio_dim=config.unet.audio_dim,
    )
