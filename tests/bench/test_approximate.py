"""The bench's approximate rows and its soak: real runs, as short as they get."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from test_plain import tiny_case

from emo_core.bench.approximate import FLOAT8, SETTINGS, savings, savings_table
from emo_core.bench.command import _product_run
from emo_core.bench.soak import Soak, soak
from emo_core.config import GuidanceConfig


def test_every_approximation_is_measured_against_the_product() -> None:
    rows = savings(tiny_case(GuidanceConfig()), _product_run, turns=1)
    assert [row.name for row in rows] == [*SETTINGS, FLOAT8]
    assert all(0 < row.difference < 0.5 and row.ratio > 0 for row in rows)
    assert all(name in savings_table(rows) for name in [*SETTINGS, FLOAT8])


def test_a_soak_samples_memory_and_draws_it(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("psutil")
    made = soak(tmp_path, sound_s=1.2, device=torch.device("cpu"), every_s=0.2)
    assert made.frames == 30 and len(made.rss_mib) >= 3 and min(made.rss_mib) > 50
    assert json.loads((tmp_path / "soak.json").read_text())["frames"] == 30
    assert (tmp_path / "soak.png").stat().st_size > 5000 and not (tmp_path / "soak.wav").exists()


def test_growth_is_seen() -> None:
    flat = Soak(60, 60, 1500, 1, (50, *([100] * 19)))
    rising = dataclasses.replace(flat, rss_mib=tuple(100.0 + 10 * i for i in range(20)))
    assert flat.growth == 1 and rising.growth > 1.5
