"""Controls in the frames of a tiny model: each steers, each is exact when off, and the end of a video is no edge."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from awake_model import awake, sound, with_clip

from emo_core.config import ECHOMIMIC, TINY, GuidanceConfig, WindowConfig
from emo_core.control.emphasis import with_emphasis
from emo_core.data import (
    AudioFeatures,
    Controls,
    GenerateSettings,
    Portrait,
    ReferenceCache,
    SpeedKeys,
    VoiceSpeed,
    Waveform,
)
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.pipeline.conditions import region_of_frames
from emo_core.pipeline.generate import generate
from emo_core.pipeline.reference import encode_reference


def made(
    model: EmoModel,
    reference: ReferenceCache,
    audio: AudioFeatures,
    controls: Controls | None = None,
    **settings: object,
) -> torch.Tensor:
    clips = generate(model, reference, audio, controls, GenerateSettings(**settings))  # type: ignore[arg-type]
    return torch.cat([clip.frames for clip in clips])


def far(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def test_keyframes_and_the_voice_are_the_curves_they_stand_for(model: EmoModel, reference: ReferenceCache) -> None:
    keys = SpeedKeys(((0.0, 0.2), (0.2, 1.4)))
    curve = [0.2 + 1.2 * min(i / 5, 1) for i in range(7)]
    steered = made(model, reference, sound(7), Controls(speed=keys))
    assert far(steered, made(model, reference, sound(7), Controls(speed=curve))) < 1e-5
    loud = Waveform(torch.cat([torch.zeros(1, 2240), torch.ones(1, 2240)], 1), 16000)
    voiced = dataclasses.replace(sound(7), waveform=loud)
    follows = made(model, reference, voiced, Controls(speed=VoiceSpeed(0.0, 2.0)))
    assert far(follows, made(model, reference, voiced, Controls(speed=0.0))) > 1e-4
    with pytest.raises(EmoInputError, match="no sound"):
        list(generate(model, reference, sound(7), Controls(speed=VoiceSpeed())))


@pytest.mark.parametrize(
    ("controls", "settings"),
    [
        (Controls(mouth_emphasis=2.0), {}),
        (Controls(upper_emphasis=0.0), {}),
        (Controls(), {"portrait_guidance": 1.5}),
        (Controls(), {"portrait_guidance": 1.0, "guidance": 1.0}),
        (Controls(), {"motion_drop": 0.5}),
        (Controls(), {"colour_anchor": 1.0}),
    ],
    ids=str,
)
def test_every_strength_moves_the_picture(
    model: EmoModel, reference: ReferenceCache, controls: Controls, settings: dict
) -> None:
    audio = sound(8)
    plain = made(model, reference, audio)
    if settings.get("guidance") == 1.0:
        # Scale 1 for both is the conditional prediction, whatever the other two rows say.
        assert far(made(model, reference, audio, guidance=1.0), made(model, reference, audio, **settings)) < 1e-4
    else:
        assert far(plain, made(model, reference, audio, controls, **settings)) > 1e-4
    assert torch.equal(plain, made(model, reference, audio, Controls(), motion_drop=0.0, colour_anchor=0.0))


def test_equal_scales_are_the_single_scale(portrait: Portrait) -> None:
    """Where the table takes portrait and voice away together, two equal scales are what one is."""
    table = GuidanceConfig(scale=2.0, reference="zero", audio="zero")
    model = awake(dataclasses.replace(TINY, guidance=table))
    reference = encode_reference(model, portrait)
    together = made(model, reference, sound(4), guidance=2.5)
    assert far(together, made(model, reference, sound(4), guidance=2.5, portrait_guidance=2.5)) < 1e-4


@pytest.mark.parametrize("portrait_sees", ["zero", "absent"])
def test_three_rows_run_in_the_appended_family_too(portrait: Portrait, portrait_sees: str) -> None:
    unet = dataclasses.replace(
        TINY.unet, reference_attention="appended", motion=ECHOMIMIC.unet.motion and TINY.unet.motion
    )
    table = GuidanceConfig(scale=2.0, reference=portrait_sees)  # type: ignore[arg-type]
    model = awake(dataclasses.replace(TINY, unet=unet, guidance=table))
    reference = encode_reference(model, portrait)
    plain = made(model, reference, sound(4))
    guided = made(model, reference, sound(4), portrait_guidance=3.0)
    assert guided.isfinite().all() and far(plain, guided) > 1e-4
    emphasised = made(model, reference, sound(4), Controls(mouth_emphasis=3.0))
    assert far(plain, emphasised) > 1e-5


def test_emphasis_acts_where_the_mouth_is(model: EmoModel, reference: ReferenceCache) -> None:
    """At one attention site the change lies on the weighted pixels alone."""
    from emo_core.models.context import CallContext

    context = CallContext(
        frames=1,
        reference=with_emphasis(reference, Controls(mouth_emphasis=2.0)),
        audio=None,
        speed=None,
        temporal=True,
    )
    side = reference.latents.shape[-1]  # type: ignore[union-attr]
    heard = torch.ones(3, side * side, 5)
    gain = context.at(None, side * side).emphasise(heard)[0, :, 0].view(side, side)
    rows = torch.arange(side).view(-1, 1)
    assert 1.2 < float(gain.max()) <= 2 and float(gain[: side // 4].max()) < 1.01
    assert float(((gain - 1) * rows).sum() / (gain - 1).sum()) > side / 2


def test_masks_over_time_reach_their_own_clips(model: EmoModel, reference: ReferenceCache) -> None:
    left, right = torch.zeros(2, 64, 64)
    left[:, :32], right[:, 32:] = 1, 1
    moving = made(model, reference, sound(8), Controls(face_region=torch.stack([left, right])))
    assert torch.equal(moving[:4], made(model, reference, sound(8), Controls(face_region=left))[:4])
    assert far(moving[4:], made(model, reference, sound(8), Controls(face_region=left))[4:]) > 1e-4


def test_a_clips_region_is_the_union_of_its_frames() -> None:
    masks = torch.eye(6).view(6, 1, 1, 6)
    assert region_of_frames(masks, 0, 12, total=12).flatten().tolist() == [1.0] * 6
    assert region_of_frames(masks, 4, 8, total=12).flatten().tolist() == [0, 0, 1, 1, 0, 0]
    assert region_of_frames(masks, 5, 6, total=12).flatten().tolist() == [0, 0, 1, 0, 0, 0]
    assert region_of_frames(masks, 12, 14, total=12).flatten().tolist() == [0, 0, 0, 0, 0, 1]
    one = torch.ones(4, 4)
    assert region_of_frames(one, 0, 4, total=12) is one


def cut(audio: AudioFeatures, frames: int, tail: int) -> AudioFeatures:
    return dataclasses.replace(audio, windows=audio.windows[:frames], tail=audio.windows[frames : frames + tail])


@pytest.mark.parametrize("total", [10, 13])
def test_the_last_ten_frames_are_those_of_a_longer_video(
    model: EmoModel, reference: ReferenceCache, total: int
) -> None:
    """With the silence behind it known, the end of a video is what the middle of a longer one would be."""
    whole = sound(total + 6)
    ended = made(model, reference, cut(whole, total, 6))
    assert ended.shape[0] == total
    torch.testing.assert_close(ended[-10:], made(model, reference, whole)[total - 10 : total], atol=1e-6, rtol=0)
    without = made(model, reference, cut(whole, total, 0))
    assert far(ended[-10:], without[-10:]) > 1e-4


def test_windows_over_the_whole_video_go_on_behind_its_end(portrait: Portrait) -> None:
    """EchoMimic's ring would close on the first frame; with a tail its end is nearer to that of a longer video."""
    model = awake(with_clip(TINY, motion_frames=0, windows=WindowConfig(overlap=1, closed=False, shift_per_step=0)))
    reference = encode_reference(model, portrait)
    whole = sound(16)
    longer = made(model, reference, whole)[:10]
    ended = made(model, reference, cut(whole, 10, 6))
    assert ended.shape == longer.shape
    torch.testing.assert_close(ended, longer, atol=1e-6, rtol=0)


@pytest.mark.parametrize("residual_scale", [0.0, 2.0])
def test_silence_at_the_ends_begins_and_settles_as_the_portrait(portrait: Portrait, residual_scale: float) -> None:
    schedule = dataclasses.replace(TINY.schedule, residual_scale=residual_scale)
    model = awake(dataclasses.replace(TINY, schedule=schedule))
    reference = encode_reference(model, portrait)
    own = (model.vae.decode(reference.latents) / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0)
    plain = made(model, reference, sound(14))
    settled = made(model, reference, dataclasses.replace(sound(14), lead_in=3, lead_out=3))
    torch.testing.assert_close(settled[0], own, atol=1e-4, rtol=0)
    torch.testing.assert_close(settled[-1], own, atol=1e-4, rtol=0)
    assert far(plain[0], own) > 1e-2 and far(plain[-1], own) > 1e-2
    assert far(settled[7], own) > 1e-2


def test_a_resumed_run_drops_the_same_patches(model: EmoModel, reference: ReferenceCache) -> None:
    settings = GenerateSettings(motion_drop=0.5, colour_anchor=0.7)
    whole = list(generate(model, reference, sound(10), None, settings))
    rest = list(generate(model, reference, sound(10), None, settings, resume=whole[0].state))
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(whole[1:], rest, strict=True))


@pytest.mark.parametrize(
    "change", [{"portrait_guidance": 31.0}, {"motion_drop": 1.5}, {"colour_anchor": -0.1}], ids=str
)
def test_settings_without_sense_are_refused(change: dict) -> None:
    with pytest.raises(EmoInputError, match=next(iter(change))):
        GenerateSettings(**change)
