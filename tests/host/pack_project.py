"""What pyproject.toml says of this pack, without a TOML library (Python 3.10 has none): name and version."""

from __future__ import annotations

import re
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / "pyproject.toml"


def project() -> dict[str, str]:
    """`name` and `version` of the table [project]."""
    table = FILE.read_text(encoding="utf-8").split("[project]")[1].split("\n[")[0]
    return {key: match[1] for key in ("name", "version") if (match := re.search(rf'^{key} = "(.+)"$', table, re.M))}
