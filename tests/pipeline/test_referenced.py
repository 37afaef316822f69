"""A VAE that reads the portrait: videos of the size of its square over the same small latents, and everything that
decodes with the portrait's detail."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from awake_model import awake, sound
from referenced_portraits import portrait_of, referenced_model
from safetensors.torch import load, save
from test_graphs import Again
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from emo_core.config import TINY, TINY_REFERENCED
from emo_core.data import Clip, ClipState, Controls, GenerateSettings, Progress, ReferenceCache
from emo_core.errors import EmoInputError
from emo_core.models.compiled import compile_regions
from emo_core.models.emo import EmoModel
from emo_core.models.flow import shrunk
from emo_core.pipeline import memory
from emo_core.pipeline.conditions import face_region
from emo_core.pipeline.decode import decode_frames, preview_detail
from emo_core.pipeline.generate import generate, memory_plan
from emo_core.pipeline.graphs import Graphs
from emo_core.pipeline.memory import peak_bytes, without_weights
from emo_core.pipeline.offload import Mode, Offload
from emo_core.pipeline.placement import detail_to_network
from emo_core.pipeline.reference import encode_reference


@pytest.fixture(scope="module")
def model() -> EmoModel:
    return referenced_model()


@pytest.fixture(scope="module")
def references(model: EmoModel) -> dict[int, ReferenceCache]:
    """Of one portrait, by the size of its square; the VAE sees 64 pixels."""
    return {size: encode_reference(model, portrait_of(size)) for size in (32, 64, 128)}


def clips_of(model: EmoModel, reference: ReferenceCache, total: int = 6, **more: object) -> list[Clip]:
    return list(generate(model, reference, sound(total), **more))  # type: ignore[arg-type]


def frames_of(clips: list[Clip]) -> Tensor:
    return torch.cat([clip.frames for clip in clips])


def smaller(frames: Tensor, size: int) -> Tensor:
    return shrunk(frames.permute(0, 3, 1, 2), size, size).permute(0, 2, 3, 1)


def test_the_video_has_the_size_of_the_square_and_the_latents_do_not(
    model: EmoModel, references: dict[int, ReferenceCache]
) -> None:
    made = {size: clips_of(model, reference) for size, reference in references.items()}
    for size, clips in made.items():
        frames = frames_of(clips)
        assert frames.shape == (6, size, size, 3) and frames.dtype == torch.float32
        assert references[size].face_region is not None and references[size].face_region.shape == (64, 64)
        assert references[size].latents is not None and references[size].latents.shape == (1, 4, 4, 4)
        assert bool(frames.isfinite().all()) and float(frames.std()) > 0.01
    small, large = (made[size][0].state.motion_latents for size in (64, 128))
    torch.testing.assert_close(small, large, atol=1e-4, rtol=0)
    whole = frames_of(made[64])
    assert float((whole[1:] - whole[:-1]).abs().mean()) > 1e-3  # it moves


def test_frames_of_two_sizes_agree_where_they_are_as_small(
    model: EmoModel, references: dict[int, ReferenceCache]
) -> None:
    """At the size that the VAE sees, what is painted is sharp; random weights paint noise, which enlarging softens."""
    largest = encode_reference(model, portrait_of(256))
    by_size = {64: references[64], 128: references[128], 256: largest}
    seen, larger, most = (frames_of(clips_of(model, reference, 4)) for reference in by_size.values())
    moved = float((seen - references_picture(references[64])).abs().mean())
    assert float((smaller(most, 128) - larger).abs().mean()) < 0.02 * moved
    assert float((smaller(larger, 64) - seen).abs().mean()) < 0.3 * moved


def references_picture(reference: ReferenceCache) -> Tensor:
    assert reference.detail is not None
    return reference.detail.picture[0].permute(1, 2, 0) / 2 + 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_portraits_own_latent_is_the_portrait_to_the_bit(dtype: torch.dtype) -> None:
    """In any precision: the picture stays in float32, and the latent is one, not made twice."""
    model = referenced_model().to(dtype)
    reference = encode_reference(model, portrait_of(128))
    assert reference.detail is not None and reference.detail.picture.dtype == torch.float32
    assert reference.latents is not None
    frames = decode_frames(model.vae, reference.latents.expand(3, -1, -1, -1), chunk=2, detail=reference.detail)
    assert frames is not None
    assert torch.equal((frames * 255).round(), (portrait_of(128).crop.expand(3, -1, -1, -1) * 255).round())


def from_a_file(state: ClipState) -> ClipState:
    """The same numbers as a file gives them, in order; the last clip leaves none."""
    if state.motion_latents is None:
        return state
    (latents,) = load(save({"latents": state.motion_latents.contiguous()})).values()
    return dataclasses.replace(state, motion_latents=latents)


@pytest.mark.parametrize("motion_from", ["latents", "pixels"])
def test_a_resumed_run_gives_the_frames_of_an_uninterrupted_one(motion_from: str) -> None:
    model = referenced_model(motion_from=motion_from)
    reference = encode_reference(model, portrait_of(128))
    whole = clips_of(model, reference, 10)
    again = encode_reference(model, portrait_of(128))  # another process starts with the picture
    for done in range(len(whole) + 1):
        state = from_a_file(whole[done - 1].state) if done else ClipState()
        rest = clips_of(model, again, 10, resume=state)
        assert [c.index for c in rest] == [c.index for c in whole[done:]]
        assert all(torch.equal(a.frames, b.frames) for a, b in zip(rest, whole[done:], strict=True))


def test_portraits_and_seeds_stay_apart(model: EmoModel) -> None:
    """References that are kept serve in any order."""
    kept = [encode_reference(model, portrait_of(64, seed=seed)) for seed in (2, 5)]
    first = [frames_of(clips_of(model, reference)) for reference in kept]
    again = [frames_of(clips_of(model, reference)) for reference in reversed(kept)]
    assert torch.equal(first[0], again[1]) and torch.equal(first[1], again[0])
    assert float((first[0] - first[1]).abs().mean()) > 0.05
    other = frames_of(clips_of(model, kept[0], settings=GenerateSettings(seed=1)))
    assert not torch.equal(other, first[0])


def test_a_preview_is_decoded_at_the_size_that_the_vae_sees(
    model: EmoModel, references: dict[int, ReferenceCache]
) -> None:
    told: list[Progress] = []
    clips_of(model, references[128], 4, on_progress=told.append)
    latents = told[-1].latents
    assert latents is not None
    vae = model.config.vae
    shown = {
        size: decode_frames(model.vae, latents, chunk=1, detail=preview_detail(references[size].detail, vae))
        for size in (32, 64, 128)
    }
    assert {size: tuple(frames.shape[1:3]) for size, frames in shown.items() if frames is not None} == {
        32: (32, 32),
        64: (64, 64),
        128: (64, 64),
    }
    torch.testing.assert_close(shown[128], shown[64], atol=1e-3, rtol=0)


@pytest.mark.parametrize("region", ["box", "mask", "masks"])
def test_a_region_lies_over_the_square_whatever_its_size(
    model: EmoModel, references: dict[int, ReferenceCache], region: str
) -> None:
    asked: dict[int, Controls] = {}
    for size in (64, 128):
        masks = torch.zeros(3, size, size)
        for index in range(3):
            masks[index, size // 4 :, : (index + 1) * size // 4] = 1
        box = (0.0, size * 0.25, size * 0.5, float(size))
        asked[size] = Controls(face_region={"box": box, "mask": masks[0], "masks": masks}[region])
    seen = {size: face_region(model, references[size], controls) for size, controls in asked.items()}
    assert seen[64].shape[-2:] == (64, 64) and 0 < float(seen[64].mean()) < 1
    assert float((seen[64] - seen[128]).abs().mean()) < 0.01
    small, large = (clips_of(model, references[size], 4, controls=asked[size]) for size in (64, 128))
    torch.testing.assert_close(small[0].state.motion_latents, large[0].state.motion_latents, atol=0.05, rtol=0)


def test_the_portrait_of_another_model_is_refused(references: dict[int, ReferenceCache]) -> None:
    plain, model = awake(TINY), referenced_model()
    without = encode_reference(plain, portrait_of(64))
    assert without.detail is None
    with pytest.raises(
        EmoInputError, match=r"reference: found what a model without such a VAE sees.*Encode the portrait"
    ):
        generate(model, without, sound(4))
    with pytest.raises(EmoInputError, match="another model's VAE; expected none: this VAE decodes without a portrait"):
        generate(plain, references[64], sound(4))
    vae = dataclasses.replace(TINY_REFERENCED.vae, widths=(4, 12, 8))
    wider = encode_reference(awake(dataclasses.replace(TINY_REFERENCED, vae=vae)), portrait_of(64))
    with pytest.raises(
        EmoInputError, match="4, 12, 12, 4, 4 channels wide; expected 4, 8, 8, 4, 4 channels, of this model's"
    ):
        generate(model, wider, sound(4))


@pytest.mark.parametrize("size", [24, 100, 264])
def test_sizes_that_work_are_named(model: EmoModel, size: int) -> None:
    allowed = f"found a square of {size} pixels; expected 32 to 256, a multiple of 8. 64, 96, 128 are usual, 256"
    with pytest.raises(EmoInputError, match=f"portrait: {allowed}"):
        encode_reference(model, portrait_of(size))


def decoding(model: EmoModel, reference: ReferenceCache, frames: int) -> Tensor:
    assert reference.detail is not None and reference.latents is not None
    latents = reference.latents.expand(frames, -1, -1, -1) + 1.0
    detail = detail_to_network(reference.detail, model.vae)
    with torch.no_grad():
        return model.vae.decode(latents.to(model.vae.device), detail)


def allocated(reference: ReferenceCache, model: EmoModel, frames: int) -> int:
    """Bytes that torch's own allocator gave at most at one time while decoding."""
    decoding(model, reference, frames)  # what libraries keep is there
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        decoding(model, reference, frames)
    assert seen.profiler is not None and seen.profiler.kineto_results is not None
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def test_the_estimate_grows_with_the_size_and_holds_what_decoding_takes(model: EmoModel) -> None:
    twin, told = without_weights(model), {}
    for size in (64, 128, 256):
        reference = encode_reference(model, portrait_of(size))
        told[size] = peak_bytes(lambda reference=reference: decoding(twin, reference, 4))  # type: ignore[misc]
        assert 0.5 * told[size] < allocated(reference, model, 4) <= memory.MARGIN * told[size]
    assert told[64] < told[128] / 2 < told[256] / 4
    one = peak_bytes(lambda: decoding(twin, reference, 1))
    assert 3 < told[256] / one <= 4


def test_large_frames_are_decoded_fewer_at_a_time_where_memory_is_short(
    model: EmoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = encode_reference(model, portrait_of(256))
    whole = frames_of(clips_of(model, reference))
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**40)
    plan = memory_plan(model, reference, sound(6))
    assert plan.needed is not None and plan.thrift.decode_chunk == 4
    small = memory_plan(model, encode_reference(model, portrait_of(64)), sound(6))
    assert small.needed is not None and small.needed < plan.needed  # what decoding takes, for the step is the same
    monkeypatch.setattr(
        memory, "free_bytes", lambda device: plan.needed // 2
    )  # less than PLENTY, which is counted then
    assert memory_plan(model, reference, sound(6)).thrift.decode_chunk < 4
    torch.testing.assert_close(frames_of(clips_of(model, reference)), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("mode", ["none", "parts", "groups"])
def test_the_detail_waits_where_the_vae_does(
    mode: Mode, model: EmoModel, references: dict[int, ReferenceCache]
) -> None:
    how = Offload(mode, torch.device("cpu"))
    reference = encode_reference(model, portrait_of(128), offload=how)
    assert reference.detail is not None and reference.detail.picture.device.type == "cpu"
    again = frames_of(clips_of(model, reference, offload=how))
    assert torch.equal(again, frames_of(clips_of(model, references[128])))


def test_recorded_steps_are_not_shown_the_detail(model: EmoModel, references: dict[int, ReferenceCache]) -> None:
    recorder = Again()
    made = frames_of(clips_of(model, references[128], graphs=Graphs(recorder)))
    assert torch.equal(made, frames_of(clips_of(model, references[128])))
    assert recorder.recorded == 1 and recorder.replayed > 0


def test_a_compiled_model_decodes_the_same(references: dict[int, ReferenceCache]) -> None:
    model = referenced_model()
    plain = frames_of(clips_of(model, references[128]))
    torch._dynamo.reset()
    assert compile_regions(model, backend="aot_eager")
    assert float((frames_of(clips_of(model, references[128])) - plain).abs().max()) < 1e-3
    torch._dynamo.reset()


def test_pictures_that_overflow_in_half_precision_are_decoded_in_float32(caplog: pytest.LogCaptureFixture) -> None:
    """With a detail made anew, for the old one holds what overflowed."""
    model = referenced_model()
    model.vae.autoencoder.reader.fine[1].weight.mul_(3e5)
    half = copy.deepcopy(model).half()
    assert all(bool(p.isfinite().all()) for p in half.parameters())
    reference = encode_reference(half, portrait_of(64))
    assert reference.detail is not None and not all(bool(f.isfinite().all()) for f in reference.detail.features)
    frames = frames_of(clips_of(half, reference, 4))
    assert "the pictures of clip 0 holds NaN in torch.float16: repeating it in float32" in caplog.text
    assert bool(frames.isfinite().all()) and frames.shape == (4, 64, 64, 3)
