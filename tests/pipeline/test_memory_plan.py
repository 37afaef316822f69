"""Memory that is told before it is taken: what lives is counted, once, and as long as it lives."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from awake_model import awake, sound
from torch.nn import functional

from emo_core.config import TINY
from emo_core.data import Portrait
from emo_core.models.emo import EmoModel
from emo_core.models.parts import join_parts, split_model
from emo_core.pipeline import memory
from emo_core.pipeline.generate import generate, memory_plan
from emo_core.pipeline.memory import (
    Thrift,
    Weights,
    Work,
    peak_bytes,
    plan_memory,
    weight_bytes,
    without_weights,
)
from emo_core.pipeline.reference import encode_reference

KB = 1024


def empty(kilobytes: int) -> torch.Tensor:
    return torch.empty(kilobytes * KB // 4, device="meta")


def test_what_lives_at_the_same_time_is_added_up() -> None:
    def together() -> None:
        first, second = empty(8), empty(4)
        third = first[:KB].add(second)
        del first, second, third

    def one_after_the_other() -> None:
        for _ in range(5):
            empty(8)

    assert peak_bytes(together) == 16 * KB
    assert peak_bytes(one_after_the_other) == 8 * KB


def test_views_and_work_in_place_take_nothing() -> None:
    def views() -> None:
        whole = empty(8)
        parts = whole.view(2, -1).unbind()
        parts[0].add_(1)
        del whole
        assert len(parts) == 2  # which hold it still
        empty(8)

    assert peak_bytes(views) == 16 * KB


def test_attention_never_holds_queries_times_keys() -> None:
    query = torch.empty(1, 1, 1000, 8, device="meta")
    assert peak_bytes(lambda: functional.scaled_dot_product_attention(query, query, query)) == 1000 * 8 * 4


def test_a_model_without_weights_keeps_shapes_and_types(portrait: Portrait) -> None:
    model = awake(TINY)
    model.backbone.half()
    twin = without_weights(model)
    own = {name: (value.shape, value.dtype) for name, value in model.named_parameters()}
    assert {name: (value.shape, value.dtype) for name, value in twin.named_parameters()} == own
    assert all(value.is_meta for value in twin.parameters())
    assert weight_bytes(twin.backbone) == weight_bytes(model.backbone) > 0


def test_a_model_joined_from_a_hosts_parts_is_told_too(portrait: Portrait, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the nodes sample: without the audio encoder, which has done its work, and perhaps with another VAE."""
    parts = split_model(awake(TINY))
    model = join_parts(parts["backbone"], parts["reference_net"], parts["vae"].main)
    assert not hasattr(model, "audio_encoder")
    reference = encode_reference(model, portrait)
    whole = torch.cat([clip.frames for clip in generate(model, reference, sound(6))])
    monkeypatch.setattr(memory, "PLENTY", 10**6)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**40)
    assert torch.equal(torch.cat([clip.frames for clip in generate(model, reference, sound(6))]), whole)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    with pytest.raises(memory.EmoInputError, match="memory: found"):
        list(generate(model, reference, sound(6)))
    with pytest.raises(memory.EmoInputError, match="memory: found"):
        memory_plan(model, reference, sound(6))


def test_the_plan_is_told_with_its_estimate_also_where_there_is_plenty(
    portrait: Portrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = awake(TINY)
    reference = encode_reference(model, portrait)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**50)
    plan = memory_plan(model, reference, sound(6))
    assert plan.mode == "none" and plan.roomy and plan.needed is not None and plan.needed > 0
    monkeypatch.setattr(memory, "free_bytes", lambda device: plan.needed)
    scarce = memory_plan(model, reference, sound(6))
    assert scarce == dataclasses.replace(plan, roomy=False)  # it fits, but not with a step that is kept beside it


@pytest.mark.parametrize(("share", "free"), [(1.0, 60), (0.5, 45), (0.05, 0), (None, 60)])
def test_no_more_is_free_than_the_share_that_torch_is_held_to(
    share: float | None, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 100 bytes 50 are free, 15 are torch's, of which 5 are in use."""
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 5)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 15)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (50, 100))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    if share is None:  # a torch that does not say
        monkeypatch.delattr(torch.cuda, "get_per_process_memory_fraction", raising=False)
    else:
        monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda index: share, raising=False)
    for device in ("cuda", "cuda:1"):
        assert memory.free_bytes(torch.device(device)) == free


def planned(free: int | None, monkeypatch: pytest.MonkeyPatch, *, guided: bool = True) -> Thrift:
    """On a device with `free` kB: a step takes 64 kB, one row of it 40 kB; a frame 8 kB to decode."""
    monkeypatch.setattr(memory, "free_bytes", lambda device: None if free is None else free * KB)
    monkeypatch.setattr(memory, "MARGIN", 1.0)
    monkeypatch.setattr(memory, "PLENTY", 10**6)

    def step(model: EmoModel, thrift: Thrift) -> object:
        return empty(40 if thrift.one_row_per_pass else 64)

    def decode(model: EmoModel, frames: int) -> object:
        return empty(8 * frames)

    work = Work(step, decode, lambda model: None)
    return plan_memory(awake(TINY), work, guided=guided, decode_chunk=8).thrift


@pytest.mark.parametrize(
    ("free", "one_row", "chunk"), [(None, False, 8), (64, False, 8), (63, True, 4), (40, True, 4), (1000, False, 8)]
)
def test_as_much_at_a_time_as_fits(
    free: int | None, one_row: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert planned(free, monkeypatch) == Thrift(one_row, chunk)


def test_what_never_fits_is_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        memory.EmoInputError, match=r"memory: found 0\.00 GB free on cpu, where a clip needs about 0\.00 GB"
    ):
        planned(39, monkeypatch)
    with pytest.raises(memory.EmoInputError, match="memory"):
        planned(63, monkeypatch, guided=False)


@pytest.mark.parametrize(
    ("free", "mode", "one_row", "chunk"),
    [
        (264, "none", False, 8),
        (263, "none", True, 4),
        (231, "parts", False, 8),
        (150, "parts", True, 8),
        (139, "groups", False, 8),
        (104, "groups", False, 8),
        (103, "groups", False, 8),
        (100, "groups", False, 8),
    ],
)
def test_networks_stay_away_before_a_clip_is_refused(
    free: int, mode: str, one_row: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kB: backbone 100 of which 30 at a time, ReferenceNet 60, VAE 30, conditions 10; a step 64, one row of it 40,
    motion frames 20, a frame 8."""
    monkeypatch.setattr(memory, "free_bytes", lambda device: free * KB)
    monkeypatch.setattr(memory, "MARGIN", 1.0)
    monkeypatch.setattr(memory, "PLENTY", 10**6)
    weights = Weights(backbone=100 * KB, layers=30 * KB, conditions=10 * KB, reference_net=60 * KB, vae=30 * KB)
    work = Work(
        step=lambda model, thrift: empty(40 if thrift.one_row_per_pass else 64),
        decode=lambda model, frames: empty(8 * frames),
        motion=lambda model: empty(20),
    )
    plan = plan_memory(
        awake(TINY), work, guided=True, decode_chunk=8, modes=("none", "parts", "groups"), weights=weights
    )
    assert (plan.mode, plan.thrift) == (mode, Thrift(one_row, chunk))
    monkeypatch.setattr(memory, "free_bytes", lambda device: 99 * KB)
    with pytest.raises(memory.EmoInputError, match=r"where a clip needs about 0\.00 GB; expected"):
        plan_memory(awake(TINY), work, guided=True, decode_chunk=8, modes=("none", "parts", "groups"), weights=weights)
