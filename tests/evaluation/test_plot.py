"""Plots: round ticks around the data, and pictures in which the lines are where the numbers are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emo_core.evaluation.plot import COLOURS, HEIGHT, WIDTH, Line, Panel, axis_ticks, write_plot


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 1.9, [0.0, 0.5, 1.0, 1.5, 2.0]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3, 118, [-50, 0, 50, 100, 150]),
        (0.003, 0.004, [0.003, 0.0032, 0.0034, 0.0036, 0.0038, 0.004]),
    ],
)
def test_ticks_are_round_and_hold_the_data(low: float, high: float, expected: list[float]) -> None:
    assert axis_ticks(low, high) == pytest.approx(expected)


def test_one_value_has_an_axis_too() -> None:
    ticks = axis_ticks(2.0, 2.0)
    assert len(ticks) >= 2 and ticks[0] <= 2.0 <= ticks[-1] and ticks[0] < ticks[-1]


def where(path: Path, colour: str) -> tuple[np.ndarray, np.ndarray]:
    picture = np.asarray(Image.open(path).convert("RGB"))
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    rows, columns = np.nonzero((picture == wanted).all(-1))
    return rows, columns


def test_a_rising_line_rises(tmp_path: Path) -> None:
    up = Panel("Speed", "setting", "measured", (Line("measured", ((0.0, 0.0), (1.0, 1.0), (2.0, 2.0))),))
    write_plot(tmp_path / "new" / "plot.png", [up])
    rows, columns = where(tmp_path / "new" / "plot.png", COLOURS[0])
    assert np.corrcoef(columns, -rows)[0, 1] > 0.98 and np.ptp(columns) > WIDTH // 2


def test_every_panel_has_its_place_and_an_empty_one_says_so(tmp_path: Path) -> None:
    line = Line("a", ((0.0, 1.0), (1.0, 3.0)))
    nothing = Line("b", ((0.0, float("nan")),), dashed=True)
    both = Panel("t", "x", "y", (line, Line("c", ((0.0, 2.0), (1.0, 2.0)), dashed=True)))
    write_plot(tmp_path / "plot.png", [both, Panel("t", "x", "y", (nothing,)), both, both], columns=3)
    with Image.open(tmp_path / "plot.png") as sheet:
        assert sheet.size == (3 * WIDTH, 2 * HEIGHT)
    rows, columns = where(tmp_path / "plot.png", COLOURS[0])
    panels = {(int(r) // HEIGHT, int(c) // WIDTH) for r, c in zip(rows, columns, strict=True)}
    assert panels == {(0, 0), (0, 2), (1, 0)}
