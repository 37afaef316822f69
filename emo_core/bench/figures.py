"""The file of figures of a bench: in, a path and the figures; out, JSON that a later bench knows for its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import EmoInputError
from ..files import shown
from ..owned import refuse_existing, refuse_impossible, refuse_inputs
from ..whole import write_text_whole

MADE_BY = "python -m emo_core bench"


def refuse_output(output: Path, inputs: Mapping[str, Path | None], *, overwrite: bool) -> None:
    """Raises EmoInputError, before any work, for an output that is an input, a folder, or somebody's file."""
    refuse_impossible(output)
    refuse_inputs(output, inputs)
    refuse_existing(output, overwrite=overwrite or is_ours(output))


def is_ours(output: Path) -> bool:
    """Whether an earlier bench wrote this file; the first ones left no mark."""
    try:
        said = json.loads(output.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(said, dict):
        return False
    return said.get("made_by") == MADE_BY or ("machine" in said and ("cases" in said or "peer" in said))


def write_figures(output: Path, figures: Mapping[str, object]) -> None:
    """A run that is killed here leaves what was written before. Raises EmoInputError where nothing can be written."""
    try:
        write_text_whole(output, json.dumps({"made_by": MADE_BY, **figures}, indent=1))
    except OSError as error:
        found = f"{shown(output)}, which cannot be written ({(error.strerror or str(error)).lower()})"
        remedy = "The figures above are all that there is of them."
        raise EmoInputError("output", found, "a place with room that can be written to", remedy) from error
