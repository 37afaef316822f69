"""What the approximations save: the product as it is against the product with each of them, in turns.

They change the pictures; how much is printed beside the ratio. What it means for lips and faces `evaluate` measures,
with the same options.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..data import GenerateSettings
from ..models.float8 import store_in_float8
from .cases import Case
from .measure import Versus, versus

SETTINGS: dict[str, Callable[[GenerateSettings], GenerateSettings]] = {
    "guidance interval 0.3-1": lambda settings: replace(settings, guidance_interval=(0.3, 1.0)),
    "guidance interval 0.5-1": lambda settings: replace(settings, guidance_interval=(0.5, 1.0)),
    "guidance interval 0.2-0.8": lambda settings: replace(settings, guidance_interval=(0.2, 0.8)),
    "guidance reuse 2": lambda settings: replace(settings, guidance_reuse=2),
    "step cache 2": lambda settings: replace(settings, step_cache=2),
    "step cache 3": lambda settings: replace(settings, step_cache=3),
}
FLOAT8 = "float8 storage"


@dataclass(frozen=True)
class Saving:
    """One approximation: how much faster, and the mean difference of the pictures (0..1)."""

    case: str
    name: str
    ratio: float
    exact_s: float
    approximate_s: float
    difference: float


def savings(case: Case, run: Callable[[Case], Callable[[], Tensor]], turns: int) -> list[Saving]:
    """Every approximation on one case, in 10 steps; `run` makes what generates it."""
    case = replace(case, settings=replace(case.settings, steps=10))
    made = []
    twins = {name: replace(case, settings=change(case.settings)) for name, change in SETTINGS.items()}
    for name, twin in (twins | {FLOAT8: _in_float8(case)}).items():
        exact, short = run(case), run(twin)
        difference = float((exact() - short()).abs().mean())
        times: Versus = versus(exact, short, turns)
        saving = Saving(case.name, name, times.ratio, times.a.median, times.b.median, difference)
        made.append(saving)
    return made


def _in_float8(case: Case) -> Case:
    model = copy.deepcopy(case.model)
    store_in_float8(model)
    return replace(case, model=model)


def savings_table(rows: Sequence[Saving]) -> str:
    """One line each."""
    lines = ["approximate              case         exact s  short s  ratio  mean difference, 1/255"]
    for row in rows:
        lines.append(
            f"{row.name:<24} {row.case:<12} {row.exact_s:>7.2f} {row.approximate_s:>8.2f} {row.ratio:>5.2f}x"
            f"  {row.difference * 255:.2f}"
        )
    return "\n".join(lines)
