"""Memory told without a device: what is halved is halved, and a picture of four times the places takes about four."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from emo_core.bench import needs as counting
from emo_core.bench.command import main
from emo_core.bench.needs import needs, needs_table
from emo_core.config import TINY, TINY_REFERENCED


def test_needs_follow_type_size_and_rows() -> None:
    whole, half = (needs(TINY, 64, dtype) for dtype in (torch.float32, torch.float16))
    assert whole.weights == 2 * half.weights > 0
    assert 1.6 < whole.step / half.step <= 2.0  # the sampler's own arithmetic stays float32
    assert whole.step_one_row < 0.7 * whole.step
    assert 7 < whole.decode_8 / whole.decode_1 <= 8
    large = needs(TINY, 128, torch.float32)
    assert 3 < large.step / whole.step < 5 and large.weights == whole.weights
    assert whole.least_none > whole.least_parts > whole.least_groups > whole.step_one_row
    longer = dataclasses.replace(TINY, clip=dataclasses.replace(TINY.clip, frames=8))
    assert needs(longer, 64, torch.float32).step > 1.5 * whole.step


def test_the_table_names_every_size() -> None:
    rows = [needs(TINY, size, torch.float16) for size in (64, 128)]
    table = needs_table(rows, torch.float16).splitlines()
    assert table[0].startswith("float16, GB") and [line.split()[:2] for line in table[1:]] == [
        ["tiny", "64"],
        ["tiny", "128"],
    ]


def test_a_vae_that_reads_the_portrait_needs_more_for_larger_pictures_alone() -> None:
    small, large = (needs(TINY_REFERENCED, size, torch.float16) for size in (64, 256))
    assert small.step == large.step and small.weights == large.weights
    assert 6 < large.decode_1 / small.decode_1 < 16


def test_the_figures_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen: the table was printed, and there was no file."""
    monkeypatch.setattr(counting, "SIZES", {"tiny": (TINY, (64, 128))})
    for dtype in ("float16", "float32"):  # the second takes the place of the first
        assert main(["--needs", "--dtype", dtype, "--output", str(tmp_path / "needs.json")]) == 0
    written = json.loads((tmp_path / "needs.json").read_text())
    assert (written["dtype"], [row["size"] for row in written["needs"]]) == ("float32", [64, 128])
    assert written["needs"][0] == dataclasses.asdict(needs(TINY, 64, torch.float32))
