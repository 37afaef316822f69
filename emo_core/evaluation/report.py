"""The table: rows of name, value and bar. In: `Row`s. Out: text for a terminal, and plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Bar:
    """What a value must reach."""

    sense: Literal[">=", "<="]
    limit: float

    def met(self, value: float) -> bool:
        """nan meets nothing."""
        return bool(value >= self.limit if self.sense == ">=" else value <= self.limit)

    def __str__(self) -> str:
        return f"{self.sense} {self.limit:g}"


@dataclass(frozen=True)
class Row:
    """One measured number; without a bar it is information. `note` says how it was measured."""

    section: str
    name: str
    value: float
    bar: Bar | None = None
    note: str = ""
    digits: int = 2

    @property
    def passed(self) -> bool | None:
        return None if self.bar is None else self.bar.met(self.value)


def table(rows: Sequence[Row]) -> str:
    """Aligned text, one line per row, a heading per section."""
    width = max((len(row.name) for row in rows), default=0)
    lines, section = [], ""
    for row in rows:
        if row.section != section:
            section = row.section
            lines += ["", section]
        value = "-" if math.isnan(row.value) else f"{row.value:.{row.digits}f}"
        verdict = {None: "", True: "ok", False: "FAIL"}[row.passed]
        line = f"  {row.name:<{width}} {value:>8}  {row.bar or ''!s:<9} {verdict:<5} {row.note}"
        lines.append(line.rstrip())
    judged = [row.passed for row in rows if row.passed is not None]
    return "\n".join([*lines, "", f"{sum(judged)} of {len(judged)} bars met"]).lstrip("\n")


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as plain values; nan becomes null."""
    plain = []
    for row in rows:
        values = asdict(row)
        values["value"] = None if math.isnan(row.value) else float(row.value)
        values["bar"], values["passed"] = str(row.bar) if row.bar else None, row.passed
        del values["digits"]
        plain.append(values)
    return plain
