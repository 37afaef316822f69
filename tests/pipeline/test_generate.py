"""Clips: exact lengths, the same frames every time, resumed or not, whatever comes after them, and a clean stop."""

from __future__ import annotations

import dataclasses
import weakref

import pytest
import torch
from awake_model import awake, sound, with_clip

from emo_core.config import TINY
from emo_core.data import (
    SCHEDULERS,
    Clip,
    ClipState,
    Controls,
    GenerateSettings,
    Portrait,
    Progress,
    ReferenceCache,
    Waveform,
)
from emo_core.models.emo import EmoModel
from emo_core.pipeline.audio import encode_audio
from emo_core.pipeline.conditions import video_sway
from emo_core.pipeline.generate import generate
from emo_core.pipeline.motion import ease_seam
from emo_core.pipeline.reference import encode_reference


def frames_of(clips: list[Clip]) -> torch.Tensor:
    return torch.cat([clip.frames for clip in clips])


@pytest.fixture(scope="module")
def clips(model: EmoModel, reference: ReferenceCache) -> list[Clip]:
    """Ten frames: 4 + 4 + 2."""
    return list(generate(model, reference, sound(10)))


@pytest.mark.parametrize("total", [1, 3, 4, 5, 9])
def test_there_are_exactly_as_many_frames_as_windows(model: EmoModel, reference: ReferenceCache, total: int) -> None:
    made = list(generate(model, reference, sound(total)))
    assert [c.index for c in made] == list(range(len(made)))
    frames = frames_of(made)
    assert frames.shape == (total, 64, 64, 3) and frames.dtype == torch.float32
    assert float(frames.min()) >= 0.0 and float(frames.max()) <= 1.0 and float(frames.std()) > 0.01


def test_sound_gives_exactly_its_rounded_length(model: EmoModel, reference: ReferenceCache) -> None:
    """0.26 s at 25 fps: 6.5 frames, which Python rounds to 6; the features are the model's own encoder's."""
    waveform = Waveform(torch.randn(1, 4160, generator=torch.Generator().manual_seed(4)), 16000)
    audio = encode_audio(model, waveform, 25)
    assert audio.frames == round(waveform.duration_s * 25) == 6
    assert frames_of(list(generate(model, reference, audio))).shape[0] == 6
    assert encode_audio(model, waveform).fps == model.config.clip.fps


def test_the_same_inputs_give_the_same_frames(model: EmoModel, reference: ReferenceCache, clips: list[Clip]) -> None:
    torch.manual_seed(99)
    torch.randn(7)
    assert torch.equal(frames_of(list(generate(model, reference, sound(10)))), frames_of(clips))


@pytest.mark.parametrize("motion_from", ["latents", "pixels"])
def test_a_resumed_run_gives_the_frames_of_an_uninterrupted_one(portrait: Portrait, motion_from: str) -> None:
    model = awake(with_clip(TINY, motion_from=motion_from))
    reference = encode_reference(model, portrait)
    whole = list(generate(model, reference, sound(10)))
    for done in range(len(whole) + 1):
        state = whole[done - 1].state if done else ClipState()
        rest = list(generate(model, reference, sound(10), resume=state))
        assert [c.index for c in rest] == [c.index for c in whole[done:]]
        for again, before in zip(rest, whole[done:], strict=True):
            assert torch.equal(again.frames, before.frames)


def test_longer_sound_begins_with_the_same_clips(model: EmoModel, reference: ReferenceCache, clips: list[Clip]) -> None:
    longer = list(generate(model, reference, sound(17)))
    for before, now in zip(clips[:2], longer, strict=False):
        assert torch.equal(before.frames, now.frames)
        assert torch.equal(before.state.motion_latents, now.state.motion_latents)


def test_the_last_clips_padding_does_not_show(model: EmoModel, reference: ReferenceCache) -> None:
    """Sound that ends is sound whose last window goes on."""
    ended = sound(6)
    held = dataclasses.replace(ended, windows=torch.cat([ended.windows, ended.windows[-1:].expand(2, -1, -1, -1)]))
    short, long = (frames_of(list(generate(model, reference, audio))) for audio in (ended, held))
    torch.testing.assert_close(short, long[:6], atol=1e-6, rtol=0)


def test_a_clip_depends_on_the_motion_frames_before_it(
    model: EmoModel, reference: ReferenceCache, clips: list[Clip]
) -> None:
    state = clips[0].state
    assert state.next_index == 1 and state.motion_latents is not None and state.motion_latents.shape == (2, 4, 8, 8)
    other = dataclasses.replace(state, motion_latents=state.motion_latents.flip(0) + 1)
    changed = next(generate(model, reference, sound(10), resume=other))
    assert not torch.allclose(changed.frames, clips[1].frames, atol=1e-3)


def test_motion_latents_are_the_end_of_the_clip(portrait: Portrait) -> None:
    """Decoded, the latents a clip hands on are its own last frames."""
    model = awake(TINY)
    first = next(generate(model, encode_reference(model, portrait), sound(10)))
    assert first.state.motion_latents is not None
    pictures = (model.vae.decode(first.state.motion_latents) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(pictures, first.frames[-2:], atol=1e-5, rtol=0)


def test_without_motion_frames_clips_stand_alone(portrait: Portrait) -> None:
    model = awake(with_clip(TINY, motion_frames=0))
    reference = encode_reference(model, portrait)
    whole = list(generate(model, reference, sound(8)))
    alone = next(generate(model, reference, sound(8), resume=ClipState(1)))
    assert torch.equal(whole[1].frames, alone.frames)


def test_clips_shorter_than_the_motion_frames_carry_older_ones(portrait: Portrait) -> None:
    model = awake(with_clip(TINY, frames=1, motion_frames=2))
    made = list(generate(model, encode_reference(model, portrait), sound(4)))
    first, second = made[0].state.motion_latents, made[1].state.motion_latents
    assert first is not None and first.shape[0] == 2 and torch.equal(first[0], first[1])
    assert second is not None and torch.equal(second[0], first[1])


@pytest.mark.parametrize(
    ("controls", "settings"),
    [
        (Controls(speed=1.5), {}),
        (Controls(speed=[0.1 * i for i in range(4)]), {}),
        (Controls(face_region=(0.0, 0.0, 20.0, 64.0)), {}),
        (Controls(face_region=torch.ones(64, 64)), {}),
        (Controls(face_strength=0.5), {}),
        (Controls(), {"guidance": 1.0}),
        (Controls(), {"guidance": 4.0}),
        (Controls(), {"seed": 1}),
        (Controls(), {"steps": 3}),
        *((Controls(), {"scheduler": name}) for name in SCHEDULERS if name != "ddim"),
    ],
    ids=str,
)
def test_every_control_and_setting_moves_the_picture(
    model: EmoModel, reference: ReferenceCache, controls: Controls, settings: dict
) -> None:
    plain = frames_of(list(generate(model, reference, sound(4))))
    steered = frames_of(list(generate(model, reference, sound(4), controls, GenerateSettings(**settings))))
    assert steered.isfinite().all() and (plain - steered).abs().max() > 1e-4


def test_no_region_is_the_portraits_own(model: EmoModel, reference: ReferenceCache) -> None:
    assert reference.face_region is not None and 0 < float(reference.face_region.mean()) < 1
    own = frames_of(list(generate(model, reference, sound(4), Controls(face_region=reference.face_region))))
    assert torch.equal(own, frames_of(list(generate(model, reference, sound(4)))))


def test_the_decoding_chunk_does_not_change_the_frames(model: EmoModel, reference: ReferenceCache) -> None:
    runs = [
        frames_of(list(generate(model, reference, sound(4), None, GenerateSettings(decode_chunk=n)))) for n in (1, 3, 8)
    ]
    for frames in runs[1:]:
        torch.testing.assert_close(frames, runs[0], atol=1e-5, rtol=0)


def test_progress_tells_every_step_in_order(model: EmoModel, reference: ReferenceCache) -> None:
    told: list[Progress] = []
    list(generate(model, reference, sound(6), None, GenerateSettings(steps=3), on_progress=told.append))
    assert [(p.clip, p.step) for p in told] == [(c, s) for c in (0, 1) for s in (1, 2, 3)]
    assert all(
        p.clips == 2 and p.steps == 3 and p.latents is not None and p.latents.shape == (4, 4, 8, 8) for p in told
    )


@pytest.mark.parametrize("asked", range(1, 10))
def test_a_stop_ends_cleanly_without_half_a_clip(
    model: EmoModel, reference: ReferenceCache, clips: list[Clip], asked: int
) -> None:
    """Stopping at any question (2 steps, 1 decoding per clip) leaves whole clips, from which the run can go on."""
    questions = iter(range(1, 100))
    made = list(generate(model, reference, sound(10), should_stop=lambda: next(questions) >= asked))
    assert len(made) == (asked - 1) // 3
    for clip, before in zip(made, clips, strict=False):
        assert torch.equal(clip.frames, before.frames)
    rest = generate(model, reference, sound(10), resume=made[-1].state if made else None)
    assert torch.equal(frames_of([*made, *rest]), frames_of(clips))


def test_an_error_in_the_hosts_callback_comes_through(model: EmoModel, reference: ReferenceCache) -> None:
    """A ComfyUI host interrupts by raising from its progress hook."""

    class Interrupted(Exception):
        pass

    def interrupt(progress: Progress) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        list(generate(model, reference, sound(10), on_progress=interrupt))


def test_finished_clips_are_let_go(model: EmoModel, reference: ReferenceCache) -> None:
    """Memory is flat: when a clip arrives, nothing holds the frames or the state of the one before the last."""
    alive: list[weakref.ref] = []
    for clip in generate(model, reference, sound(24)):
        alive += [weakref.ref(clip.frames)]
        del clip
        assert sum(ref() is not None for ref in alive) <= 1


def test_the_global_random_state_is_left_alone(model: EmoModel, reference: ReferenceCache) -> None:
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    list(generate(model, reference, sound(4), None, GenerateSettings(scheduler="lcm")))
    assert torch.equal(torch.randn(3), expected)


def test_a_model_may_have_a_speed_of_its_own(portrait: Portrait) -> None:
    """Where nobody asks for a speed, its default is asked for; a family without one has no speed condition then."""
    assert TINY.unet.speed is not None and TINY.unet.speed.default is None
    plain = awake(dataclasses.replace(TINY, posed_portrait=None))
    calm = dataclasses.replace(TINY.unet, speed=dataclasses.replace(TINY.unet.speed, default=0.9))
    own = awake(dataclasses.replace(TINY, unet=calm, posed_portrait=None))
    own.load_state_dict(plain.state_dict())
    reference = encode_reference(plain, portrait)
    asked = frames_of(list(generate(plain, reference, sound(4), Controls(speed=0.9))))
    assert torch.equal(frames_of(list(generate(own, reference, sound(4)))), asked)
    assert not torch.equal(frames_of(list(generate(plain, reference, sound(4)))), asked)


def test_a_head_that_is_turned_has_a_pace_of_its_own_and_goes_on_where_it_was(portrait: Portrait) -> None:
    assert TINY.unet.speed is not None and TINY.posed_portrait is not None
    own = dataclasses.replace(TINY.unet, speed=dataclasses.replace(TINY.unet.speed, default=0.9))
    model = awake(dataclasses.replace(TINY, unet=own))
    reference = encode_reference(model, portrait)
    free, still = (frames_of(list(generate(model, reference, sound(12), c))) for c in (None, Controls(speed=0.0)))
    assert not torch.allclose(free, still, atol=1e-3)
    first = next(iter(generate(model, reference, sound(12))))
    rest = list(generate(model, reference, sound(12), resume=first.state))
    assert torch.equal(frames_of([first, *rest]), free)
    audio = dataclasses.replace(sound(12), lead_out=4)
    turned = video_sway(model.config, audio, Controls(speed=1.0), seed=1, region=torch.ones(64, 64), own=None)
    assert turned is not None and turned.shape == (12, 3) and not turned[-1].any() and bool(turned[6].any())


def test_the_strength_of_a_region_is_how_far_it_holds_the_drawn_path() -> None:
    own = torch.zeros(64, 64)
    own[16:48, 16:48] = 1
    narrow = torch.zeros(64, 64)
    narrow[20:44, 20:44] = 1

    def swing(region: torch.Tensor, strength: float) -> float:
        controls = Controls(speed=1.0, face_strength=strength)
        sway = video_sway(TINY, sound(60), controls, seed=1, region=region, own=own)
        assert sway is not None
        return float((sway.amax(0) - sway.amin(0))[1])

    assert swing(narrow, 0.0) == swing(own, 1.0) == swing(own, 2.0)
    assert swing(narrow, 0.0) > swing(narrow, 1.0) > swing(narrow, 2.0)


def test_easing_spreads_the_step_into_a_clip_and_starts_nothing_else(portrait: Portrait) -> None:
    latents = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    state = ClipState(1, torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(6)))
    assert ease_seam(latents, state, 0.0) is latents and ease_seam(latents, ClipState(), 0.5) is latents
    step = state.motion_latents[-1] - latents[0]  # type: ignore[index]
    eased = ease_seam(latents, state, 0.5)
    assert torch.allclose(eased[0], latents[0] + step / 2) and torch.allclose(eased[2], latents[2] + step / 8)
    assert torch.allclose(ease_seam(latents, state, 0.5, moved=step), latents)  # all of the step was wanted
    held = torch.tensor([1.0, 0.0, 0.0, 1.0])  # the portrait itself stays
    kept = ease_seam(latents, state, 0.5, held=held)
    assert torch.equal(kept[0], latents[0]) and torch.equal(kept[3], latents[3]) and torch.equal(kept[1], eased[1])
    plain, easing = awake(TINY), awake(with_clip(TINY, seam_easing=0.5))
    reference = encode_reference(plain, portrait)
    hard, soft = (list(generate(model, reference, sound(8))) for model in (plain, easing))
    assert torch.equal(hard[0].frames, soft[0].frames)

    def seam(clips: list[Clip]) -> float:
        return float((clips[1].frames[0] - clips[0].frames[-1]).abs().mean())

    assert seam(soft) < 0.8 * seam(hard)
