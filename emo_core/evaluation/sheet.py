"""Contact sheets for a person's eyes. In: cases and takes. Out: PNG files: truth above, generated below, in time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..whole import written_whole
from .photographs import Showing
from .speaking import Pictures
from .takes import Take

_LABEL = 14  # pixels of text above each row


def write_sheet(path: Path, takes: Sequence[Take], every: int = 5) -> None:
    """Two rows a take: the truth and the generated frames, every fifth, the portrait in front of both."""
    rows: list[tuple[str, Pictures]] = []
    for take in takes:
        heard = (
            "its own sound"
            if take.heard is take.case
            else "silence or other"
            if take.heard is None
            else take.heard.name
        )
        rows.append((f"{take.case.name}: truth", _strip(take, take.case.frames, every)))
        rows.append((f"generated, hears {heard}", _strip(take, take.frames, every)))
    _write_rows(path, rows)


def write_showings(path: Path, showings: Sequence[Showing], most: int = 6) -> None:
    """A row a portrait, at the largest size: the portrait, then some frames."""
    largest = max(showing.size for showing in showings)
    shown = [showing for showing in showings if showing.size == largest][:most]
    labels = [f"portrait, frames; detail kept {showing.detail:.2f} at {largest} pixels" for showing in shown]
    strips = [np.concatenate(list(showing.strip), axis=1) for showing in shown]
    _write_rows(path, list(zip(labels, strips, strict=True)))


def _write_rows(path: Path, rows: Sequence[tuple[str, Pictures]]) -> None:
    """Pictures (h, w, 3) one below the other, each with a label above."""
    from PIL import Image, ImageDraw

    width, height = max(strip.shape[1] for _, strip in rows), sum(strip.shape[0] + _LABEL for _, strip in rows)
    sheet = Image.new("RGB", (width, height), "white")
    draw, top = ImageDraw.Draw(sheet), 0
    for label, strip in rows:
        draw.text((2, top + 1), label, fill="black")
        sheet.paste(Image.fromarray(strip), (0, top + _LABEL))
        top += strip.shape[0] + _LABEL
    with written_whole(path) as part:
        sheet.save(part, format="PNG")


def _strip(take: Take, frames: Pictures, every: int) -> Pictures:
    """(H, n * W, 3)."""
    return np.concatenate([take.case.portrait, *frames[::every]], axis=1)
