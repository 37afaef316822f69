"""Face locator, speed layers and audio projection."""

import dataclasses

import pytest
import torch
from small_network import stir

from emo_core.config import TINY, V_EXPRESS, AudioProjectionConfig, FaceLocatorConfig, SpeedConfig
from emo_core.models.audio_projection import AudioProjection, window_frames
from emo_core.models.emo import audio_projection
from emo_core.models.face_locator import FaceLocator
from emo_core.models.speed_layers import SpeedLayers


def test_a_white_face_region_is_no_guidance():
    locator = stir(FaceLocator(TINY.face_locator, 16))
    masks = torch.zeros(2, 1, 1, 64, 64)
    masks[0] = 1
    masks[1, ..., 16:48, 16:48] = 1
    feature = locator(masks)
    assert feature.shape == (2, 1, 16, 8, 8)
    assert feature[0].abs().max() == 0 and feature[1].abs().max() > 0
    pictures = stir(FaceLocator(dataclasses.replace(TINY.face_locator, white_is_none=False), 16))
    assert pictures(masks)[0].abs().max() > 0


def test_the_face_locator_is_silent_at_first_and_takes_a_picture_per_frame():
    locator = FaceLocator(FaceLocatorConfig(in_channels=3, channels=(4, 8, 8, 8)), 12)
    feature = locator(torch.rand(2, 5, 3, 32, 48))
    assert feature.shape == (2, 5, 12, 4, 6) and feature.abs().max() == 0


def test_buckets_are_the_papers():
    config = SpeedConfig(centres=(0.0, 0.5), radius=0.25)
    got = SpeedLayers(config).buckets(torch.tensor([[0.0, 0.5, 0.6]]))
    expected = torch.tanh(torch.tensor([[[0.0, -6.0], [6.0, 0.0], [7.2, 1.2]]]))
    torch.testing.assert_close(got, expected)


def test_speed_outside_all_buckets_saturates():
    layers = stir(SpeedLayers(SpeedConfig()))
    far, farther = (layers(torch.full((1, 6), value)) for value in (10.0, 1e6))
    assert torch.equal(far, farther) and torch.isfinite(farther).all()
    assert layers.buckets(torch.tensor([[1e6, -1e6]])).tolist() == [[[1.0] * 9, [-1.0] * 9]]
    assert not torch.equal(layers(torch.full((1, 6), 0.5)), layers(torch.full((1, 6), 1.0)))


def test_a_speed_token_hears_m_frames_on_each_side():
    layers = stir(SpeedLayers(SpeedConfig(window=2)))
    speed = torch.full((1, 9), 0.4)
    other = speed.clone()
    other[0, 4] = 1.1
    differs = (layers(speed) != layers(other)).any(-1)[0]
    assert torch.nonzero(differs).flatten().tolist() == [2, 3, 4, 5, 6]
    tokens = layers(speed)[0]
    torch.testing.assert_close(tokens[0], tokens[8], msg="the edges are repeated")


@pytest.mark.parametrize("config", [TINY, V_EXPRESS])
def test_audio_projection_gives_tokens_of_the_unets_width(config):
    small = dataclasses.replace(
        config,
        audio_encoder=TINY.audio_encoder,
        audio_projection=dataclasses.replace(
            config.audio_projection, resampler_dim=24, dim_head=4, resampler_heads=3, depth=2
        ),
    )
    projection = audio_projection(small)
    layers = 1 if config is V_EXPRESS else TINY.audio_encoder.layers
    windows = torch.randn(2, 3, 10 if config is V_EXPRESS else 5, layers, TINY.audio_encoder.hidden_size)
    tokens = projection(windows)
    assert tokens.shape == (2, 3, config.audio_projection.tokens, config.unet.audio_dim)
    moved = windows.clone()
    moved[1, 2, -1] += 1
    differs = (projection(moved) - tokens).abs().amax((2, 3))
    assert differs[1, 2] > 1e-4 and differs.flatten()[:-1].max() < 1e-5


def test_the_resampler_knows_order():
    config = AudioProjectionConfig(kind="resampler", tokens=2, resampler_dim=16, dim_head=4, resampler_heads=2, depth=1)
    projection = AudioProjection(config, layers=1, width=8, window_frames=window_frames(config), audio_dim=12)
    windows = torch.randn(1, 1, 10, 1, 8)
    assert not torch.allclose(projection(windows), projection(windows.flip(2)), atol=1e-4)
