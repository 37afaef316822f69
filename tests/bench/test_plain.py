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
from emo_core.config import TINY, GuidanceConfig
from emo_core.data import GenerateSettings

CPU = torch.device("cpu")


def tiny_case(guidance: GuidanceConfig) -> Case:
    config = dataclasses.replace(TINY, guidance=guidance)
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
