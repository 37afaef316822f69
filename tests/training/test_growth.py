"""A network that has grown computes what the smaller one did, until it is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from emo_core.config import EMO_MINI_HEADS, TINY
from emo_core.data import Conditions
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.models.vae import VAE
from emo_core.training.growth import load_grown

SMALL_VAE = replace(
    EMO_MINI_HEADS.vae,
    latent_channels=8,
    channel_scale=(),
    encoder_channels=(8, 16),
    encoder_layers=(1, 2),
    decoder_channels=(8, 16),
    decoder_layers=(2, 4),
)
WIDE = replace(TINY, unet=replace(TINY.unet, attention_levels=(True, True)))
NARROW = replace(TINY, unet=replace(TINY.unet, attention_levels=(False, True)))


def speak(model: torch.nn.Module) -> None:
    """No parameter at zero, so that nothing is silent by chance."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))


def test_a_deeper_vae_gives_the_same_pictures() -> None:
    torch.manual_seed(0)
    small = VAE(SMALL_VAE)
    speak(small)
    deep = VAE(replace(SMALL_VAE, encoder_layers=(1, 3), decoder_layers=(4, 5)))
    new = load_grown(deep, small.state_dict())
    assert len(new) == 4 * 5  # two blocks at the finest level, one at each coarse one, of five tensors
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(deep.decode(deep.encode(pictures)), small.decode(small.encode(pictures)), atol=1e-5)


def test_attention_at_a_new_level_adds_nothing_before_it_is_trained() -> None:
    torch.manual_seed(0)
    narrow, wide = EmoModel(NARROW), EmoModel(WIDE)
    speak(narrow)
    new = load_grown(wide, narrow.state_dict())
    assert any("backbone.down_blocks.0.attentions" in name for name in new)
    outputs = []
    noisy, portrait = torch.randn(1, 3, 4, 8, 8), torch.randn(1, 4, 8, 8)
    audio = torch.randn(1, 3, 2, 16)
    for model in (narrow.eval(), wide.eval()):
        with torch.no_grad():
            motion = torch.zeros(1, 2, 4, 8, 8)
            reference = model.backbone.project_reference(model.reference_net(portrait, motion))
            face = model.face_locator(torch.ones(1, 1, 1, 64, 64))
            conditions = Conditions(audio_tokens=audio, face_feature=face)
            outputs.append(model.backbone(noisy, torch.tensor([500]), reference, conditions))
    assert torch.allclose(outputs[0], outputs[1], atol=1e-5)
    assert float(outputs[0].std()) > 0


def test_weights_of_something_else_are_refused() -> None:
    with pytest.raises(EmoInputError, match="unknown tensors"):
        load_grown(VAE(SMALL_VAE), {"other.weight": torch.zeros(1)})


def test_more_latent_channels_leave_the_old_ones_and_the_pictures_as_they_were() -> None:
    torch.manual_seed(0)
    small = VAE(replace(SMALL_VAE, latent_channels=4))
    speak(small)
    wide = VAE(replace(SMALL_VAE, latent_channels=8))
    assert load_grown(wide, small.state_dict()) == []
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        latents, more = small.encode(pictures), wide.encode(pictures)
        assert torch.allclose(more[:, :4], latents, atol=1e-5)
        assert float(more[:, 4:].std()) > 0.01  # there is something to learn from
        assert torch.allclose(wide.decode(more), small.decode(latents), atol=1e-5)


@pytest.mark.parametrize("concat", [False, True])
def test_a_network_of_more_latent_channels_says_the_same_in_those_it_knew(concat: bool) -> None:
    torch.manual_seed(0)
    narrow_config = replace(TINY, unet=replace(TINY.unet, concat_reference=concat))
    wide_config = replace(
        narrow_config,
        unet=replace(narrow_config.unet, in_channels=6, out_channels=6),
        vae=replace(narrow_config.vae, latent_channels=6),
    )
    narrow, wide = EmoModel(narrow_config).eval(), EmoModel(wide_config).eval()
    speak(narrow)
    load_grown(wide, {n: t for n, t in narrow.state_dict().items() if not n.startswith("vae.")})
    noisy, portrait, pose = torch.randn(1, 3, 6, 8, 8), torch.randn(1, 6, 8, 8), torch.randn(1, 3, 3)
    outputs = []
    for model, channels in ((narrow, 4), (wide, 6)):
        with torch.no_grad():
            still = portrait[:, :channels]
            motion = torch.zeros(1, 2, channels, 8, 8)
            reference = model.backbone.project_reference(model.reference_net(still, motion))
            face = model.face_locator(torch.ones(1, 1, 1, 64, 64))
            conditions = Conditions(audio_tokens=torch.zeros(1, 3, 2, 16), face_feature=face)
            made = model.backbone(noisy[:, :, :channels], torch.tensor([500]), reference, conditions)
            outputs.append((made, model.posed_portrait(still, pose)))
    for small, large in zip(*outputs, strict=True):
        assert torch.allclose(small, large[:, :, :4], atol=1e-5)
    assert not outputs[1][0][:, :, 4:].any()
    portrait[:, 4:] = 0.7  # the new ones are carried along with the others, and nothing is painted into them
    assert torch.allclose(wide.posed_portrait(portrait, pose)[:, :, 4:], torch.tensor(0.7), atol=1e-5)
