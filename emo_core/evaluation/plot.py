"""Plots that a person can read: settings against what was measured, as panels of one PNG. In: `Panel`s. Out: a file.

Drawn with Pillow, which every installation has.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..whole import written_whole

WIDTH, HEIGHT = 460, 330  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 56, 58  # its margins
COLOURS = ("#1f5fa8", "#c4501b", "#3a7d34", "#7a4fa3")
PAPER, INK, GRID, MUTED = "#ffffff", "#1d1d1f", "#dddddd", "#6b6b70"


@dataclass(frozen=True)
class Line:
    """One series: its name, and points (x, y) in order; `dashed` for what is only compared with."""

    name: str
    points: tuple[tuple[float, float], ...]
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]


def write_plot(path: Path, panels: Sequence[Panel], columns: int = 3) -> None:
    """All panels in rows of `columns`, with a legend in each that has more than one line."""
    from PIL import Image, ImageDraw

    rows = -(-len(panels) // columns)
    sheet = Image.new("RGB", (WIDTH * min(columns, max(1, len(panels))), HEIGHT * max(1, rows)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, panel in enumerate(panels):
        _draw_panel(sheet, draw, panel, WIDTH * (index % columns), HEIGHT * (index // columns))
    with written_whole(path) as part:
        sheet.save(part, format="PNG", optimize=True)


def axis_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about `wanted` steps apart."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / wanted))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * wanted >= span)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]


def _draw_panel(sheet: Any, draw: Any, panel: Panel, left: int, top: int) -> None:
    points = [(x, y) for line in panel.lines for x, y in line.points if math.isfinite(y)]
    draw.text((left + LEFT, top + 10), panel.title, fill=INK, font=_font(14))
    if not points:
        draw.text((left + LEFT, top + HEIGHT // 2), "nothing was measured", fill=MUTED, font=_font(12))
        return
    x_ticks = axis_ticks(min(x for x, _ in points), max(x for x, _ in points))
    y_ticks = axis_ticks(min(0.0, *(y for _, y in points)), max(y for _, y in points))
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return left + LEFT + across * width, top + TOP + (1 - up) * height

    for tick in y_ticks:
        x, y = place(x_ticks[0], tick)
        draw.line([(x, y), (x + width, y)], fill=GRID)
        draw.text((x - 6, y), f"{tick:g}", fill=MUTED, font=_font(11), anchor="rm")
    for tick in x_ticks:
        x, y = place(tick, y_ticks[0])
        draw.line([(x, y), (x, y + 4)], fill=MUTED)
        draw.text((x, y + 8), f"{tick:g}", fill=MUTED, font=_font(11), anchor="mt")
    bottom = top + HEIGHT - BOTTOM
    draw.line([(left + LEFT, bottom), (left + LEFT + width, bottom)], fill=INK)
    draw.text((left + LEFT + width / 2, bottom + 28), panel.x_label, fill=INK, font=_font(12), anchor="mt")
    _upright(sheet, panel.y_label, left + 8, top + TOP + height // 2)
    for colour, line in zip(COLOURS * len(panel.lines), panel.lines, strict=False):
        _draw_line(draw, [place(x, y) for x, y in line.points if math.isfinite(y)], colour, dashed=line.dashed)
    if len(panel.lines) > 1:
        _draw_legend(draw, panel.lines, left + LEFT, top + 40)


def _draw_line(draw: Any, places: list[tuple[float, float]], colour: str, *, dashed: bool) -> None:
    for (x0, y0), (x1, y1) in itertools.pairwise(places):
        pieces = max(1, round(math.hypot(x1 - x0, y1 - y0) / 6)) if dashed else 1
        for piece in range(0, pieces, 2):
            a, b = piece / pieces, min(1.0, (piece + 1) / pieces)
            ends = [(x0 + a * (x1 - x0), y0 + a * (y1 - y0)), (x0 + b * (x1 - x0), y0 + b * (y1 - y0))]
            draw.line(ends, fill=colour, width=2)
    for x, y in [] if dashed else places:
        draw.ellipse([x - 3.5, y - 3.5, x + 3.5, y + 3.5], fill=colour)


def _draw_legend(draw: Any, lines: Sequence[Line], x: float, y: float) -> None:
    for colour, line in zip(COLOURS * len(lines), lines, strict=False):
        draw.line([(x, y), (x + 16, y)], fill=colour, width=3)
        draw.text((x + 21, y), line.name, fill=INK, font=_font(11), anchor="lm")
        x += 30 + draw.textlength(line.name, font=_font(11))


def _upright(sheet: Any, text: str, x: int, middle: int) -> None:
    """Text that reads upwards, centred at `middle`."""
    from PIL import Image, ImageDraw

    font = _font(12)
    length = math.ceil(font.getlength(text)) + 2
    strip = Image.new("RGB", (length, 16), PAPER)
    ImageDraw.Draw(strip).text((1, 1), text, fill=INK, font=font)
    sheet.paste(strip.rotate(90, expand=True), (x, middle - length // 2))


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
