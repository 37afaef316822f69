"""What the backbone must do whatever its weights: who sees what, and what absence means."""

import dataclasses

import pytest
import torch

from emo_core.audio.windows import encode_windows
from emo_core.config import EMO_MINI, MotionModuleConfig
from emo_core.data import Conditions, ReferenceFeatures
from emo_core.errors import EmoInputError
from emo_core.models.emo import audio_projection
from emo_core.models.reference_net import with_motion
from emo_core.models.transformer import BackboneBlock


def changed_frames(a, b):
    """Frames (of any clip) in which two predictions (b, f, c, h, w) differ."""
    return torch.nonzero((a != b).flatten(2).any(2).any(0)).flatten().tolist()


def run(s, cache=None, conditions=None, **options):
    return s.backbone(s.latents, s.timesteps, cache or s.cache(), conditions or s.conditions, **options)


def test_output_has_the_latents_shape_and_depends_on_everything(small):
    out = run(small)
    assert out.shape == small.latents.shape
    for name in ("audio_tokens", "face_feature", "speed_tokens"):
        other = dataclasses.replace(small.conditions, **{name: None})
        assert not torch.equal(run(small, conditions=other), out), name
    later = dataclasses.replace(small, timesteps=small.timesteps + 1)
    assert not torch.equal(run(later), out)
    assert not torch.equal(run(dataclasses.replace(small, portrait=small.portrait + 1)), out)


def test_without_temporal_modules_an_audio_frame_reaches_its_own_frame_only(small):
    tokens = small.conditions.audio_tokens.clone()
    tokens[:, 2] += 1
    other = dataclasses.replace(small.conditions, audio_tokens=tokens)
    cache = small.cache()
    before, after = (run(small, cache, c, temporal=False) for c in (small.conditions, other))
    assert changed_frames(before, after) == [2]
    assert changed_frames(run(small, cache), run(small, cache, other)) == [0, 1, 2, 3]


@pytest.mark.parametrize("reference_attention", ["separate", "appended"])
def test_an_unheard_clip_is_not_computed_and_comes_out_the_same(build, reference_attention):
    s = build(reference_attention=reference_attention)
    tokens = s.conditions.audio_tokens.clone()
    tokens[0] = 0
    computed = dataclasses.replace(s.conditions, audio_tokens=tokens)
    known = dataclasses.replace(computed, clips_silent=1)
    torch.testing.assert_close(run(s, conditions=known), run(s, conditions=computed), atol=1e-6, rtol=1e-5)


def test_an_encoder_frame_reaches_the_frames_whose_window_holds_it(build):
    """m = 2 (paper): features of frame i are heard by the video frames i - 2 .. i + 2."""
    s = build()
    frames, encoder = 9, s.config.audio_encoder
    s.latents = torch.randn(1, frames, *s.latents.shape[2:])
    s.timesteps = s.timesteps[:1]
    projection, features = audio_projection(s.config), torch.randn(frames, encoder.layers, encoder.hidden_size)
    moved = features.clone()
    moved[5] += 1
    outs = []
    for heard in (features, moved):
        tokens = projection(encode_windows(heard, s.config.audio_projection.window).unsqueeze(0))
        cache = s.backbone.project_reference(s.reference_net(s.portrait[:1]))
        outs.append(s.backbone(s.latents, s.timesteps, cache, Conditions(audio_tokens=tokens), temporal=False))
    assert changed_frames(*outs) == [3, 4, 5, 6, 7]


def test_zero_motion_maps_differ_from_none_and_from_real_ones(small):
    features = small.reference_net(small.portrait)
    none = small.backbone.project_reference(features)
    zero = with_motion(features, small.reference_net.zero_motion(small.portrait, 2))
    outs = [run(small, c) for c in (none, small.backbone.project_reference(zero), small.cache())]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (outs[i] - outs[j]).abs().max() > 1e-3


def test_motion_frames_do_nothing_without_temporal_modules(small):
    with_frames, without = (run(small, small.cache(motion=m), temporal=False) for m in (True, False))
    torch.testing.assert_close(with_frames, without)


def test_features_of_zero_add_exactly_the_output_bias(small):
    """That is what the unconditional half sees; nothing is left of keys, values and queries."""
    features = small.reference_net(small.portrait)
    zero = ReferenceFeatures(attention={k: torch.zeros_like(v) for k, v in features.attention.items()})
    cache = small.backbone.project_reference(zero)
    for module in small.backbone.modules():
        if isinstance(module, BackboneBlock):
            width = module.norm1.weight.shape[0]
            attention = module.attn1_5
            out = attention.over_shared(torch.randn(8, 3, width), cache.keys[module.site], cache.values[module.site])
            assert torch.equal(out, attention.to_out[0].bias.expand_as(out))
    torch.testing.assert_close(run(small, cache), run(small, dataclasses.replace(cache, keys={}, values={})))


def test_batch_of_one_serves_all(small):
    one = dataclasses.replace(small, portrait=small.portrait[:1], motion_frames=small.motion_frames[:1])
    tensors = {name: value for name, value in vars(small.conditions).items() if isinstance(value, torch.Tensor)}
    conditions = Conditions(**{name: value[:1] for name, value in tensors.items()})
    both = Conditions(**{name: value[:1].expand_as(value) for name, value in tensors.items()})
    two = dataclasses.replace(
        small,
        portrait=small.portrait[:1].expand_as(small.portrait),
        motion_frames=small.motion_frames[:1].expand_as(small.motion_frames),
    )
    got, expected = run(one, conditions=conditions), run(two, conditions=both)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def test_clips_of_a_batch_do_not_see_each_other(small):
    moved = dataclasses.replace(small, latents=small.latents.clone())
    moved.latents[1] += 1
    before, after = run(small), run(moved)
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_speed_tokens_of_zero_are_no_speed(small):
    silent = dataclasses.replace(small.conditions, speed_tokens=torch.zeros_like(small.conditions.speed_tokens))
    none = dataclasses.replace(small.conditions, speed_tokens=None)
    torch.testing.assert_close(run(small, conditions=silent), run(small, conditions=none), atol=1e-6, rtol=1e-5)


def test_each_frame_finds_its_own_speed_token(small):
    """Exchanging the speeds of two frames is not the same: the cross-attention knows positions."""
    tokens = small.conditions.speed_tokens[:, [1, 0, 2, 3]]
    other = dataclasses.replace(small.conditions, speed_tokens=tokens)
    assert (run(small) - run(small, conditions=other)).abs().max() > 1e-4


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (5, 12)])
def test_any_latent_size(small, size):
    s = dataclasses.replace(
        small,
        latents=torch.randn(1, 2, 4, *size),
        portrait=torch.randn(1, 4, *size),
        motion_frames=torch.randn(1, 2, 4, *size),
        timesteps=torch.tensor([500]),
    )
    assert run(s, conditions=Conditions()).shape == s.latents.shape
    zero, real = s.reference_net.zero_motion(s.portrait, 2), s.reference_net.encode_motion(s.motion_frames)
    assert {k: v.shape for k, v in zero.items()} == {k: v.shape for k, v in real.items()}


def test_too_many_frames_are_refused(build):
    s = build(motion=MotionModuleConfig(heads=2, max_length=5))
    with pytest.raises(EmoInputError, match="at most 5"):
        run(s)
    assert run(s, s.cache(motion=False)).shape == s.latents.shape


@pytest.mark.parametrize(
    "motion",
    [
        None,
        MotionModuleConfig(heads=2, attention_blocks=1),
        MotionModuleConfig(heads=4, attention_blocks=3),
        MotionModuleConfig(heads=2, sites="with_attention"),
        MotionModuleConfig(heads=2, sites="with_attention", feature="attention_norm"),
    ],
)
@pytest.mark.parametrize("levels", [(True, False), (False, True), (True, True)])
def test_every_shape_of_network_runs_and_trains(build, motion, levels):
    s = build(motion=motion, attention_levels=levels, layers_per_block=2)
    frames = s.motion_frames if motion else None
    cache = s.backbone.project_reference(s.reference_net(s.portrait, frames))
    if motion:
        assert set(cache.motion) == {m.site for m in s.backbone.modules() if type(m).__name__ == "TemporalModule"}
    run(s, cache).square().mean().backward()
    for net in (s.backbone, s.reference_net):
        # without temporal modules nothing reads the speed tokens; there are no speed parameters either
        silent = [k for k, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
        assert silent == []


def test_emo_mini_has_its_two_additions(build):
    s = build(EMO_MINI, 1, 16)
    with torch.no_grad():
        cache = s.cache()
        out = run(s, cache)
        moved = dataclasses.replace(cache, latents=cache.latents + 1)
        assert (run(s, moved) - out).abs().max() > 1e-3
        with pytest.raises(EmoInputError, match="portrait latent"):
            run(s, dataclasses.replace(cache, latents=None))
        tokens = s.conditions.audio_tokens
        added = s.backbone.audio_time(tokens.flatten(0, 1))
        assert added.shape == (tokens.shape[1], s.config.unet.block_out_channels[0] * 4) and added.abs().max() > 0
