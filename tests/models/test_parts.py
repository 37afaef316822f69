"""A model in parts: taken apart and put together it is the same model, and parts that do not fit are refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from emo_core.config import EMO_SD15, TINY, VAEConfig
from emo_core.data import AudioFeatures, Portrait
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.models.parts import check_audio_features, check_vae, join_parts, split_model
from emo_core.pipeline.generate import generate
from emo_core.pipeline.reference import encode_reference


@pytest.fixture(scope="module")
def model() -> EmoModel:
    torch.manual_seed(0)
    return EmoModel(TINY).eval().requires_grad_(False)


def test_every_parameter_is_in_exactly_one_part(model: EmoModel) -> None:
    names = [name for part in split_model(model).values() for name, _ in part.named_parameters()]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def test_joined_parts_generate_what_the_model_generates(model: EmoModel) -> None:
    parts = split_model(model)
    joined = join_parts(parts["backbone"], parts["reference_net"], parts["vae"].main)
    crop = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(2))
    portrait = Portrait(crop, (16.0, 16.0, 48.0, 48.0), (0.0, 0.0, 64.0, 64.0), crop)
    audio = AudioFeatures(torch.randn(6, 5, 2, 16, generator=torch.Generator().manual_seed(3)), 25.0)
    made = [
        torch.cat([clip.frames for clip in generate(each, encode_reference(each, portrait), audio)])
        for each in (model, joined)
    ]
    assert torch.equal(*made)


def test_a_reference_net_of_other_layers_is_refused(model: EmoModel) -> None:
    parts = split_model(model)
    unet = dataclasses.replace(TINY.unet, audio_dim=32)
    other = split_model(EmoModel(dataclasses.replace(TINY, name="other", unet=unet)))
    with pytest.raises(EmoInputError, match="the one of other, for the backbone of tiny"):
        join_parts(parts["backbone"], other["reference_net"], parts["vae"].main)


def test_vaes_of_one_latent_space_stand_for_each_other() -> None:
    check_vae(TINY.vae, TINY)
    check_vae(VAEConfig(block_out_channels=(64, 64, 64, 64)), EMO_SD15)
    for wrong, config in ((VAEConfig(), TINY), (VAEConfig(latent_channels=16), EMO_SD15), (TINY.vae, EMO_SD15)):
        with pytest.raises(EmoInputError, match="vae: found a VAE of kind"):
            check_vae(wrong, config)


def test_features_of_another_encoder_are_refused() -> None:
    check_audio_features(12, 768, EMO_SD15)
    with pytest.raises(EmoInputError, match="expected 12 layers, 768 wide"):
        check_audio_features(24, 1024, EMO_SD15)
