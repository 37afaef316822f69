"""A network that has grown computes what the smaller one did, until it is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from emo_core.config import EMO_MINI, TINY
from emo_core.data import Conditions
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.models.vae import VAE
from emo_core.training.growth import load_grown

SMALL_VAE = replace(
    EMO_MINI.vae, encoder_channels=(8, 16), encoder_layers=(1, 2), decoder_channels=(8, 16), decoder_layers=(2, 4)
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
