"""The VAE: shapes, scaling, and that SD's own autoencoder is what `kl` builds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from emo_core.config import EMO_MINI, EMO_MINI_HEADS, EMO_SD15, TINY, VAEConfig
from emo_core.errors import EmoInputError
from emo_core.models.vae import VAE

KL = VAEConfig(kind="kl", block_out_channels=(8, 16), layers_per_block=1, scaling_factor=0.5)


@pytest.mark.parametrize("config", [TINY.vae, EMO_MINI_HEADS.vae, KL], ids=["tiny", "mini", "kl"])
def test_pictures_to_latents_and_back_keep_their_shapes(config: VAEConfig) -> None:
    vae = VAE(config)
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        latents = vae.encode(pictures)
        decoded = vae.decode(latents)
    side = 64 // config.downscale
    assert latents.shape == (2, config.latent_channels, side, side)
    assert decoded.shape == pictures.shape


@pytest.mark.parametrize("config", [TINY.vae, KL], ids=["tiny", "kl"])
def test_scaling_factor_scales_latents_and_not_pictures(config: VAEConfig) -> None:
    torch.manual_seed(0)
    plain = VAE(replace(config, scaling_factor=1.0))
    scaled = VAE(replace(config, scaling_factor=4.0))
    scaled.load_state_dict(plain.state_dict())
    pictures = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(scaled.encode(pictures), 4 * plain.encode(pictures), atol=1e-5)
        ones = torch.ones(1, 4, 4, 4)
        assert torch.allclose(scaled.decode(4 * ones), plain.decode(ones), atol=1e-5)


@pytest.mark.parametrize("config", [TINY.vae, KL], ids=["tiny", "kl"])
def test_channels_may_be_scaled_one_by_one(config: VAEConfig) -> None:
    torch.manual_seed(0)
    plain = VAE(config)
    scaled = VAE(replace(config, channel_scale=(1.0, 1.0, 0.5, 2.0)))
    scaled.load_state_dict(plain.state_dict())
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    by = torch.tensor([1.0, 1.0, 0.5, 2.0]).view(4, 1, 1)
    with torch.no_grad():
        latents = plain.encode(pictures)
        assert torch.allclose(scaled.encode(pictures), latents * by, atol=1e-6)
        assert torch.allclose(scaled.decode(latents * by), plain.decode(latents), atol=1e-6)
    with pytest.raises(EmoInputError, match="found 2 values; expected 4"):
        VAE(replace(config, channel_scale=(1.0, 2.0)))


def test_only_a_referenced_one_is_given_the_portrait() -> None:
    vae = VAE(TINY.vae)
    assert not vae.reads_portrait and vae.detail(torch.zeros(1, 3, 64, 64)) is None
    assert [config.latent_size(512) for config in (TINY.vae, KL, EMO_MINI_HEADS.vae, EMO_MINI.vae)] == [64, 256, 64, 16]


def test_full_size_is_the_autoencoder_of_sd() -> None:
    with torch.device("meta"):
        vae = VAE(EMO_SD15.vae)
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863  # SD's VAE, counted from its file
    assert EMO_SD15.vae.downscale == 8


def test_tiny_vae_treats_pictures_of_a_batch_alone() -> None:
    vae = VAE(TINY.vae)
    pictures = torch.rand(3, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(vae.encode(pictures)[1:2], vae.encode(pictures[1:2]), atol=1e-5)
