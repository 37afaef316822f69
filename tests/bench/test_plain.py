"""The yardstick gives the product's pictures: with and without motion frames, whatever guidance drops."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from emo_core.bench.cases import Case, case_of, middle_config
from emo_core.bench.command import compare, machine, table
from emo_core.bench.measure import operations, versus
from emo_core.bench.plain import plain_backbone
from emo_core.bench.random_weights import random_model
from emo_core.config import TINY, TINY_REFERENCED, EmoConfig, GuidanceConfig
from emo_core.data import Controls, GenerateSettings, Portrait

CPU = torch.device("cpu")


def tiny_case(guidance: GuidanceConfig, config: EmoConfig = TINY) -> Case:
    config = dataclasses.replace(config, guidance=guidance)
    return case_of("tiny", random_model(config, device=CPU), clips=2, settings=GenerateSettings(guidance=2.0))


@pytest.mark.parametrize(("reference", "motion"), [("zero", "keep"), ("keep", "zero")])
def test_plain_and_product_give_the_same_pictures(reference: str, motion: str) -> None:
    case = tiny_case(GuidanceConfig(reference=reference, motion_frames=motion))  # type: ignore[arg-type]
    line = compare(case, turns=1)
    assert line.frames == 2 * TINY.clip.frames
    assert line.difference < 1e-5 and line.is_exact
    assert line.product_gflop < line.plain_gflop
    assert 0 <= line.outside_network < 1
    assert "tiny" in table([line]) and "torch" in machine(CPU)
    assert not dataclasses.replace(line, difference=2e-4).is_exact


@pytest.mark.parametrize("size", [64, 128])
def test_plain_and_product_give_the_same_pictures_where_the_vae_reads_the_portrait(size: int) -> None:
    """The plain decoder looks at the portrait again for every frame."""
    case = tiny_case(GuidanceConfig(), TINY_REFERENCED)
    crop = torch.rand((size, size, 3), generator=torch.Generator().manual_seed(4))
    box = (size * 0.25, size * 0.25, size * 0.75, size * 0.8)
    portrait = Portrait(crop=crop, face_box=box, crop_box=(0, 0, size, size), source=crop)
    case = dataclasses.replace(case, portrait=portrait, controls=Controls(face_region=(0.0, 0.0, size * 0.6, size)))
    line = compare(case, turns=1)
    assert line.frames == 2 * TINY.clip.frames and line.difference < 1e-5
    assert line.product_gflop < line.plain_gflop


def test_plain_and_product_give_the_same_pictures_in_hallos_shape() -> None:
    """Both halves attended and one thrown away, identity tokens, masked audio attention, the portrait as first motion
    frames."""
    model = random_model(middle_config(widths=(32, 32, 32, 32), frames=4, size=128), device=CPU)
    case = case_of("middle", model, clips=2, settings=GenerateSettings(steps=2, guidance=3.5))
    line = compare(case, turns=1)
    assert line.frames == 8 and line.difference < 1e-5
    assert line.product_gflop < line.plain_gflop


def test_the_yardstick_shares_the_weights() -> None:
    case = tiny_case(GuidanceConfig())
    plain = plain_backbone(case.model.backbone)
    ours = dict(case.model.backbone.named_parameters())
    assert all(p.data_ptr() == ours[name].data_ptr() for name, p in plain.named_parameters())


def test_turns_alternate_and_one_run_of_each_is_not_counted() -> None:
    order: list[str] = []
    result = versus(lambda: order.append("a"), lambda: order.append("b"), turns=2)
    assert "".join(order) == "ab" + "ab" + "ba"
    assert len(result.a.seconds) == len(result.b.seconds) == 2


def test_operations_count_two_per_multiply_add() -> None:
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert operations(lambda: a @ b) == 2 * 3 * 5 * 7
