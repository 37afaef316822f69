"""The folder that training writes to: in, a path that a user named; out, leave to write there, or the sentence why not.

A root is new, empty, or carries our mark. Roots of versions that set no mark are known by their records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import EmoInputError
from ..files import exists, shown
from ..lock import FolderLock, take_lock
from ..owned import claim_folder, mark_of, refuse_impossible, refuse_inputs, write_mark
from ..whole import explain_unwritable
from .records import read_json

KIND = "training"
_RECORDS = (  # where earlier versions left what, so that their roots are known
    ("voices/corpus.json", {"seed": int, "format": int}),
    ("*/checkpoint/counters.json", {"step": int, "trained_s": float}),
    ("heads/clips.json", [{"file": str, "start": int, "frames": int, "identity": int}]),
)


def claim_root(root: Path) -> None:
    """Make a root, or take over one of ours. Raises EmoInputError for a folder with anything else in it."""
    _claim(root, name="root")


def claim_step(folder: Path, inputs: Mapping[str, Path | None]) -> None:
    """As `claim_root` for the folder of one step, which may lie in a root. Its inputs are never its outputs."""
    refuse_impossible(folder)
    refuse_inputs(folder, inputs)
    if mark_of(folder.parent, KIND) is None:
        _claim(folder, name="output")


def begin_step(root: Path, steps: Iterable[str]) -> list[FolderLock]:
    """The right to write the results of these steps, while the locks are held. Raises EmoInputError where another run
    is at one of them: two would each undo what the other saved."""
    locks = []
    for step in steps:
        with explain_unwritable(root):
            lock = take_lock(root, f"{step}.lock")
        if lock is None:
            found = f"{shown(root)}, where another run is at {step}"
            raise EmoInputError(
                "root", found, "one run at a time", "Wait for that run or stop it, or choose another --root."
            )
        locks.append(lock)
    return locks


def refuse_replacing(path: Path, *, goes_on: bool, overwrite: bool) -> None:
    """Raises EmoInputError where a step would replace a result that another run left: one of its own goes on."""
    if exists(path) and not goes_on and not overwrite:
        remedy = "Choose another --root, or --overwrite to replace it."
        raise EmoInputError("root", f"{shown(path)}, which exists", "a root without it", remedy)


def _claim(folder: Path, *, name: str) -> None:
    refuse_impossible(folder, name=name)
    if mark_of(folder, KIND) is None and _made_before(folder):
        write_mark(folder, KIND)
    claim_folder(folder, KIND, name=name)


def _made_before(root: Path) -> bool:
    """Whether a version without marks made this root."""
    for pattern, types in _RECORDS:
        for path in sorted(root.glob(pattern)):
            try:
                read_json(path, types, what="root", again="")
            except EmoInputError:
                continue
            return True
    return False
