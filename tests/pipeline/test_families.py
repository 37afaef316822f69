"""The families' parts through the whole pipeline, at TINY's size: every condition moves the picture, the two halves of
guidance give the same in one batch and apart, and the corrected forms differ from the released ones."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from awake_model import awake, hallo, sound

from emo_core.config import ECHOMIMIC, TINY, V_EXPRESS, EmoConfig, WindowConfig
from emo_core.data import Controls, GenerateSettings, Portrait
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.pipeline import generate as pipeline
from emo_core.pipeline import memory
from emo_core.pipeline.recovery import Thrift
from emo_core.pipeline.reference import encode_reference

SETTINGS = GenerateSettings(steps=2, guidance=2.0)


def frames_of(model: EmoModel, face: Portrait, settings: GenerateSettings = SETTINGS, total: int = 6) -> torch.Tensor:
    clips = pipeline.generate(model, encode_reference(model, face), sound(total), Controls(), settings)
    return torch.cat([clip.frames for clip in clips])


@pytest.mark.parametrize("frames", [3, 4])
def test_both_halves_at_once_and_apart_are_the_same(
    face: Portrait, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with an odd number of frames, where the rows that frames read in turn begin with the other one."""
    model = awake(hallo(frames))
    together = frames_of(model, face)
    monkeypatch.setattr(pipeline, "_planned", lambda run: (run, Thrift(one_row_per_pass=True, decode_chunk=8)))
    assert float((frames_of(model, face) - together).abs().max()) < 1e-4


def test_the_face_its_order_and_its_regions_move_the_picture(face: Portrait, portrait: Portrait) -> None:
    model = awake(hallo())
    own = frames_of(model, face)
    assert own.shape == (6, 64, 64, 3) and float(own.std()) > 0.01
    other = dataclasses.replace(face, identity=-face.identity)  # type: ignore[operator]
    assert float((frames_of(model, other) - own).abs().max()) > 1e-3
    assert float((frames_of(model, portrait) - own).abs().max()) > 1e-3  # nobody's tokens
    elsewhere = dataclasses.replace(face, face_box=(0.0, 0.0, 20.0, 20.0))
    assert float((frames_of(model, elsewhere) - own).abs().max()) > 1e-3


def test_corrected_halves_differ_under_guidance_only(face: Portrait) -> None:
    released, corrected = awake(hallo()), awake(hallo(halves="matched"))
    assert float((frames_of(released, face) - frames_of(corrected, face)).abs().max()) > 1e-4
    plain = GenerateSettings(steps=2, guidance=1.0)
    assert torch.equal(frames_of(released, face, plain), frames_of(corrected, face, plain))


def echomimic() -> EmoConfig:
    motion = dataclasses.replace(TINY.unet.motion, feature="attention_norm")  # type: ignore[type-var]
    unet = dataclasses.replace(TINY.unet, reference_attention="appended", audio_weight=3.0, motion=motion, speed=None)
    clip = dataclasses.replace(ECHOMIMIC.clip, frames=4, size=64)
    config = dataclasses.replace(TINY, unet=unet, clip=clip, schedule=ECHOMIMIC.schedule, guidance=ECHOMIMIC.guidance)
    return dataclasses.replace(
        config,
        clip=dataclasses.replace(clip, windows=dataclasses.replace(clip.windows, overlap=1)),  # type: ignore[type-var]
    )


def v_express() -> EmoConfig:
    locator = dataclasses.replace(TINY.face_locator, in_channels=3, reads="key_points", white_is_none=False)
    clip = dataclasses.replace(V_EXPRESS.clip, frames=4, size=64, windows=WindowConfig(overlap=1, closed=False))
    unet = dataclasses.replace(TINY.unet, speed=None, reference_cross_attention="zero_token")
    return dataclasses.replace(TINY, unet=unet, clip=clip, face_locator=locator)


FAMILIES = {"emo": lambda: TINY, "hallo": hallo, "echomimic": echomimic, "v_express": v_express}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_clip_needs_can_be_told_before_it_is_made(
    face: Portrait, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With just that much, and a little less than for all at once: the same video, one row after the other."""
    model, told = awake(FAMILIES[family]()), []
    whole = frames_of(model, face)
    real = memory.peak_bytes

    def peak(work):
        told.append(real(work))
        return told[-1]

    monkeypatch.setattr(memory, "peak_bytes", peak)
    monkeypatch.setattr(memory, "PLENTY", 10**6)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**40)
    assert torch.equal(frames_of(model, face), whole)
    step, decode = told[:2]
    assert step > decode > 0
    monkeypatch.setattr(memory, "free_bytes", lambda device: int((step - 1) * memory.MARGIN))
    assert float((frames_of(model, face) - whole).abs().max()) < 1e-4
    monkeypatch.setattr(memory, "free_bytes", lambda device: decode // 8)
    with pytest.raises(EmoInputError, match=r"memory: found 0\.00 GB free on cpu.*guidance 1"):
        frames_of(model, face)


def test_echomimic_denoises_a_video_in_windows(portrait: Portrait) -> None:
    """Audio in attn2, no audio module, no identity, no motion frames, all motion modules."""
    model = awake(echomimic())
    made = frames_of(model, portrait, total=7)
    assert made.shape == (7, 64, 64, 3) and bool(torch.isfinite(made).all())
    assert torch.equal(made, frames_of(model, portrait, total=7))


def test_v_express_reads_key_points(portrait: Portrait) -> None:
    """In place of the region: another place of the face moves the picture, a region of the user's does not."""
    model = awake(v_express())
    own = frames_of(model, portrait, total=5)
    elsewhere = dataclasses.replace(portrait, face_box=(0.0, 0.0, 40.0, 40.0))
    assert float((frames_of(model, elsewhere, total=5) - own).abs().max()) > 1e-3
    region = Controls(face_region=(0.0, 0.0, 10.0, 10.0))
    clips = pipeline.generate(model, encode_reference(model, portrait), sound(5), region, SETTINGS)
    assert torch.equal(torch.cat([clip.frames for clip in clips]), own)
