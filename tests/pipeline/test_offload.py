"""Networks that wait in main memory: the same frames to the bit, each on the card when it is needed and at no other
time, and a model that is as it was, however the run ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch
from awake_model import awake, hallo, sound, with_clip
from recording_mover import LAYERS, RecordingMover
from torch import nn

from emo_core.config import TINY, EmoConfig
from emo_core.data import Clip, Conditions, GenerateSettings, Portrait, Progress
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.models.float8 import store_in_float8
from emo_core.pipeline import memory, offload
from emo_core.pipeline.generate import generate
from emo_core.pipeline.memory import NOTHING, free_bytes, weight_bytes
from emo_core.pipeline.offload import CONDITIONS, MODES, Mode, Mover, Offload, layers_of, offload_to, weights_of
from emo_core.pipeline.placement import conditions_to_network
from emo_core.pipeline.reference import encode_reference

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SETTINGS = GenerateSettings(steps=2, guidance=2.0)
FAMILIES: dict[str, Callable[[], EmoConfig]] = {
    "emo": lambda: with_clip(TINY, motion_from="pixels", seam_easing=0.5),
    "hallo": hallo,
}


def made(model: EmoModel, face: Portrait, how: Offload | None, total: int = 6) -> list[Clip]:
    """Two clips, the second with motion frames."""
    reference = encode_reference(model, face, offload=how)
    return list(generate(model, reference, sound(total), None, SETTINGS, offload=how))


def frames_of(clips: list[Clip]) -> torch.Tensor:
    return torch.cat([clip.frames for clip in clips])


def fingerprint(model: EmoModel) -> list[object]:
    """All that the model is: tensors by where their numbers lie, and what hangs on its modules."""
    tensors = [(name, value.data_ptr(), value.device) for name, value in model.state_dict().items()]
    return [*tensors, *((name, sorted(vars(module))) for name, module in model.named_modules())]


@pytest.mark.parametrize("small", [False, True], ids=["whole", "float8"])
@pytest.mark.parametrize("mode", ["none", "parts", "groups"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_frames_are_the_same_to_the_bit(family: str, mode: Mode, small: bool, face: Portrait) -> None:
    """With diffusers' own hooks, which bring the layers from the CPU to the CPU here."""
    model = awake(FAMILIES[family]())
    if small:
        store_in_float8(model)
    plain = made(model, face, None)
    before = fingerprint(model)
    again = made(model, face, Offload(mode, CPU))
    assert torch.equal(frames_of(again), frames_of(plain))
    assert len(plain) == 2 and torch.equal(again[0].state.motion_latents, plain[0].state.motion_latents)
    assert fingerprint(model) == before


@pytest.mark.parametrize("mode", ["none", "parts", "groups"])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_network_is_there_when_it_works_and_at_no_other_time(
    family: str, mode: Mode, face: Portrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    model = awake(FAMILIES[family]())
    plain = frames_of(made(model, face, None))
    mover, seen = RecordingMover(model), []
    how = Offload(mode, CUDA, mover)
    reference = encode_reference(model, face, offload=how)
    assert mover.moves == ["vae + reference_net", "backbone"]
    mover.moves.clear()
    clips = generate(
        model,
        reference,
        sound(6),
        None,
        SETTINGS,
        offload=how,
        on_progress=lambda progress: seen.append(set(mover.resident)),
    )
    assert torch.equal(frames_of(list(clips)), plain)
    conditions = [name for name in CONDITIONS if getattr(model, name) is not None]
    if mode == "none":
        everything = ["backbone", *conditions, "reference_net", "vae"]
        assert mover.moves == [" + ".join(everything)] and seen == [set(everything)] * 4
        return
    conditioned, sampled = " + ".join(conditions), LAYERS if mode == "groups" else "backbone"
    assert mover.moves == 2 * [conditioned, "reference_net", sampled, conditioned, "vae"]
    assert seen == [{sampled}] * 4 and mover.resident == set()


def test_sound_is_encoded_by_the_encoder_alone() -> None:
    from emo_core.data import Waveform
    from emo_core.pipeline.audio import encode_audio

    model = awake(TINY)
    waveform = Waveform(torch.randn(1, 4160, generator=torch.Generator().manual_seed(4)), 16000)
    plain = encode_audio(model, waveform, 25)
    mover = RecordingMover(model)
    assert torch.equal(encode_audio(model, waveform, 25, offload=Offload("parts", CUDA, mover)).windows, plain.windows)
    assert mover.moves == ["audio_encoder"]


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_hold_all_but_a_little_of_the_backbone(family: str) -> None:
    backbone = awake(FAMILIES[family]()).backbone
    layers = layers_of(backbone)
    within = [parameter for layer in layers for parameter in layer.parameters()]
    assert len(set(within)) == len(within)
    beside = {name.split(".")[0] for name, value in backbone.named_parameters() if all(value is not w for w in within)}
    assert beside == {"conv_in", "time_embedding", "conv_norm_out", "conv_out"}


class Broken(Exception):
    pass


@pytest.mark.parametrize("mode", ["none", "parts", "groups"])
@pytest.mark.parametrize("end", ["stopped", "interrupted", "a layer fails", "left alone"])
def test_the_model_is_as_it_was_however_the_run_ends(mode: Mode, end: str, face: Portrait) -> None:
    model = awake(TINY)
    reference, how = encode_reference(model, face), Offload(mode, CPU)
    before, questions = fingerprint(model), iter(range(10))
    plain = frames_of(made(model, face, None))

    def clips(**heard: Callable[..., object]) -> Iterator[Clip]:
        return generate(model, reference, sound(6), None, SETTINGS, offload=how, **heard)  # type: ignore[arg-type]

    def interrupt(progress: Progress) -> None:
        hooked = [hasattr(layer, "_diffusers_hook") for layer in layers_of(model.backbone)]
        assert all(hooked) if mode == "groups" else not any(hooked)
        raise Broken

    def fail(module: nn.Module, given: object) -> None:
        raise Broken

    if end == "stopped":
        assert list(clips(should_stop=lambda: next(questions) == 1)) == []
    elif end == "interrupted":
        with pytest.raises(Broken):
            list(clips(on_progress=interrupt))
    elif end == "a layer fails":
        hook = layers_of(model.backbone)[-1].register_forward_pre_hook(fail)
        with pytest.raises(Broken):
            list(clips())
        hook.remove()
    else:
        begun = clips()
        next(begun)
        del begun
    assert fingerprint(model) == before
    assert torch.equal(frames_of(list(clips())), plain)


@pytest.mark.parametrize("mode", ["parts", "groups"])
def test_a_run_may_go_on_with_another_measure(mode: Mode, face: Portrait) -> None:
    model = awake(TINY)
    whole = made(model, face, None, total=10)
    reference = encode_reference(model, face)
    rest = generate(model, reference, sound(10), None, SETTINGS, resume=whole[0].state, offload=Offload(mode, CPU))
    assert torch.equal(frames_of([whole[0], *rest]), frames_of(whole))


def test_a_clip_that_overflows_is_repeated_in_float32_all_the_same(face: Portrait) -> None:
    model = awake(TINY)
    model.backbone.conv_in.weight.mul_(40_000)
    model.half()
    plain = frames_of(made(model, face, None))
    assert bool(plain.isfinite().all())
    for mode in ("parts", "groups"):
        assert torch.equal(frames_of(made(model, face, Offload(mode, CPU))), plain)


def test_rows_one_after_the_other_and_no_guidance(face: Portrait) -> None:
    """Several passes a step, or one: the layers come again for each."""
    model = awake(hallo())
    reference = encode_reference(model, face)
    for settings in (GenerateSettings(steps=2, guidance=1.0), GenerateSettings(steps=2, portrait_guidance=1.5)):
        plain, grouped = (
            frames_of(list(generate(model, reference, sound(4), None, settings, offload=how)))
            for how in (None, Offload("groups", CPU))
        )
        assert torch.equal(grouped, plain)


@pytest.mark.parametrize(("share", "mode"), [(1.0, "none"), (0.7, "parts"), (0.55, "groups")])
def test_auto_takes_the_smallest_measure_that_fits(
    share: float, mode: Mode, face: Portrait, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A card with this share of what the whole model needs; 400 kB are needed to compute, whatever it is."""
    model = awake(dataclasses.replace(TINY, clip=dataclasses.replace(TINY.clip, frames=1)))
    settings = GenerateSettings(steps=1, guidance=1.0, decode_chunk=1)
    plain = frames_of(list(generate(model, encode_reference(model, face), sound(2), None, settings)))
    weights = weights_of(model, Offload("auto", CUDA))
    needed = memory.Needed(400_000, 400_000, 400_000)
    monkeypatch.setattr(memory, "PLENTY", 10**6)
    monkeypatch.setattr(memory, "peak_bytes", lambda work: 400_000)
    free = round(share * weights.most("none", needed))
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    how = Offload("auto", CUDA, RecordingMover(model))
    reference = encode_reference(model, face, offload=how)
    caplog.set_level("INFO")
    assert torch.equal(frames_of(list(generate(model, reference, sound(2), None, settings, offload=how))), plain)
    assert f"memory: offload {mode}, 1 frames decoded at once: about" in caplog.text
    assert (LAYERS in how.mover.moves) == (mode == "groups")  # type: ignore[attr-defined]


def test_what_even_groups_cannot_do_is_refused(face: Portrait, monkeypatch: pytest.MonkeyPatch) -> None:
    model = awake(TINY)
    reference = encode_reference(model, face)
    monkeypatch.setattr(memory, "PLENTY", 10**6)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    for mode in ("auto", "groups"):
        with pytest.raises(EmoInputError, match=r"memory: found 0\.00 GB free on cuda, where a clip needs about 0\.00"):
            next(
                generate(model, reference, sound(6), None, SETTINGS, offload=Offload(mode, CUDA, RecordingMover(model)))
            )


def test_weights_that_have_no_room_are_refused_before_they_move(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = nn.Linear(4, 4)
    monkeypatch.setattr(offload, "free_bytes", lambda device: 10)
    with (
        pytest.raises(EmoInputError, match=r"memory: found 0\.00 GB free on cuda, where 0\.00 GB of weights"),
        Mover().bring([linear], CUDA),
    ):
        pass
    with Mover().bring([linear], CPU):  # is there already
        assert linear.weight.device == CPU
    assert free_bytes(CPU) != 10


def test_what_comes_to_the_card_is_counted() -> None:
    model = awake(TINY)
    weights = weights_of(model, Offload("auto", CUDA))
    assert weights.backbone == weight_bytes(model.backbone) and weights.vae == weight_bytes(model.vae)
    layers = sorted(weight_bytes(layer) for layer in layers_of(model.backbone))
    assert weights.layers == weights.backbone - sum(layers[:-2])
    assert weights.conditions == sum(weight_bytes(getattr(model, name)) for name in CONDITIONS)
    assert weights_of(model, Offload("groups", CPU)) == weights_of(model, Offload()) == NOTHING
    store_in_float8(model)
    assert weights_of(model, Offload("auto", CUDA)).layers < weights.layers


def test_conditions_made_before_the_backbone_came_follow_it() -> None:
    first = torch.ones(1, 2, 3)
    conditions = Conditions(audio_tokens=first, face_feature=first, speed_tokens=None, posed_portrait=first)
    followed = conditions_to_network(conditions, nn.Linear(1, 1).half())
    assert followed.speed_tokens is None
    for value in (followed.audio_tokens, followed.face_feature, followed.posed_portrait):
        assert value is not None and value.dtype == torch.float16


def test_what_is_asked_for_is_checked(face: Portrait, monkeypatch: pytest.MonkeyPatch) -> None:
    assert offload_to("auto", CPU) == offload_to("auto", torch.device("mps")) == offload_to("none", CUDA) == Offload()
    assert offload_to("auto", CUDA) == Offload("auto", CUDA) and offload_to("parts", CPU).home == CPU
    assert Offload().home is None and MODES == ("auto", "none", "parts", "groups")
    with pytest.raises(EmoInputError, match=r"offload: found 'some'.*auto, none, parts, groups"):
        offload_to("some", CPU)  # type: ignore[arg-type]
    with pytest.raises(EmoInputError, match="main memory"):
        offload_to("parts", torch.device("mps"))
    model = awake(TINY)
    reference = encode_reference(model, face)

    def refused(what: str, settings: GenerateSettings = SETTINGS) -> None:
        """At once where it is asked for by name; left out where it is not."""
        with pytest.raises(EmoInputError, match=f"offload: found groups with {what}"):
            generate(model, reference, sound(4), None, settings, offload=Offload("groups", CPU))
        assert offload.candidates(Offload("auto", CUDA), model, settings) == ("none", "parts")

    assert offload.candidates(Offload("auto", CUDA), model, SETTINGS) == ("none", "parts", "groups")
    refused("a step cache", GenerateSettings(step_cache=2))
    with monkeypatch.context() as patched:
        patched.setattr(offload, "find_spec", lambda name: None)
        refused("no package accelerate")
    model.backbone.mid_block.resnets[0].compile(backend="eager")
    refused("compiled blocks")
