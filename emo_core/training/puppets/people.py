"""The people of a folder of portraits: who becomes a puppet, who does not and why, and who is kept for testing.

In: folders of pictures. Out: `Photograph`s, each person once, and `photographs.json` beside the clips: all pictures
that were looked at, with the reason of those that were left; it is read again, so that a run that goes on need not look
at thousands of pictures once more.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import EmoInputError
from ...files import is_folder, shown
from ...whole import write_text_whole
from ..records import fits, read_json
from .photograph import Photograph, Unfit, alike, look_at

logger = logging.getLogger(__name__)
LIST = "photographs.json"
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
ONE_IN = 12  # people are kept for testing, by the hash of their picture
_AGAIN = "Remove it: the pictures are looked at again."
_ENTRY = {"file": str, "why": str}
_KEPT = {"person": int, "crop_box": [float], "angle_deg": float, "marks": [[float]], "measures": dict}


def is_tested(person: int) -> bool:
    """Whether this person is kept for testing: whichever folder it lies in, whatever lies beside it."""
    return person % ONE_IN == 0


def find_pictures(folders: Sequence[Path]) -> list[Path]:
    """All pictures below these folders, sorted. EmoInputError for a folder that is none, or has none."""
    found: set[Path] = set()
    for folder in folders:
        if not is_folder(folder):
            raise EmoInputError("--photos", f"no folder at {shown(folder)}", "folders of portraits", "Check the path.")
        inside = {path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()}
        if not inside:
            allowed = f"pictures ({', '.join(sorted(SUFFIXES))})"
            raise EmoInputError("--photos", f"no pictures in {shown(folder)}", allowed)
        found |= inside
    return sorted(found)


def gather(pictures: Sequence[Path], record: Path, *, processes: int) -> list[Photograph]:
    """The people of these pictures, by `record` if it is of the same ones. Logs how many were left, and why."""
    if record.exists():
        entries = _read(record)
        if [entry["file"] for entry in entries] != [str(path) for path in pictures]:
            found = f"{len(entries)} pictures in {shown(record)}"
            remedy = "Give the folders of portraits that it was made with, or choose another --root."
            raise EmoInputError("--photos", f"{len(pictures)} pictures", f"those of the {found}", remedy)
    else:
        entries = _looked_at(pictures, processes)
        _leave_doubles(entries)
        write_text_whole(record, json.dumps([_as_json(entry) for entry in entries]))
    people = [entry["photograph"] for entry in entries if not entry["why"]]
    _tell(entries)
    if not people:
        raise EmoInputError("--photos", f"nobody in {len(pictures)} pictures", f"people; {record.name} says why not")
    return sorted(people, key=lambda photograph: photograph.person)


def _looked_at(pictures: Sequence[Path], processes: int) -> list[dict[str, Any]]:
    if processes <= 1:
        return [_entry(path) for path in pictures]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_entry, pictures, chunksize=8))


def _entry(path: Path) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)  # one process a core
    notes = logging.getLogger("emo_core.face.crop")  # about portraits, for those who chose one
    notes.disabled = True
    try:
        return {"file": str(path), "why": "", "photograph": look_at(path)}
    except Unfit as unfit:
        return {"file": str(path), "why": unfit.reason, "found": unfit.found}
    finally:
        notes.disabled = False


def _leave_doubles(entries: Sequence[dict[str, Any]]) -> None:
    kept: list[Photograph] = []
    for entry in entries:
        photograph = entry.get("photograph")
        if photograph is None:
            continue
        twin = next((other for other in kept if alike(photograph, other)), None)
        if twin is None:
            kept.append(photograph)
        else:
            entry |= {"why": "double", "found": f"as {shown(twin.path)}"}


def _tell(entries: Sequence[dict[str, Any]]) -> None:
    reasons = Counter(entry["why"] for entry in entries if entry["why"])
    left = ", ".join(f"{count} {why}" for why, count in reasons.most_common()) or "none"
    kept = len(entries) - sum(reasons.values())
    logger.info("%d of %d pictures are people that can be puppets; left: %s", kept, len(entries), left)


def _as_json(entry: dict[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in entry.items() if name != "photograph"}
    if entry["why"]:
        return said
    photograph: Photograph = entry["photograph"]
    return said | {
        "person": photograph.person,
        "crop_box": [float(value) for value in photograph.crop_box],
        "angle_deg": float(photograph.angle_deg),
        "measures": {name: round(float(value), 4) for name, value in photograph.measures.items()},
        "marks": np.round(photograph.marks.astype(float), 3).tolist(),
    }


def _read(record: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = read_json(record, [_ENTRY], what="photographs", again=_AGAIN)
    for entry in entries:
        if entry["why"]:
            continue
        if not fits(entry, _KEPT) or len(entry["crop_box"]) != 4 or np.shape(entry["marks"]) != (468, 3):
            found = f"{shown(record)} with pictures that cannot be"
            raise EmoInputError("photographs", found, "what this version of EMO writes to it", _AGAIN)
        left, top, right, bottom = entry["crop_box"]
        entry["photograph"] = Photograph(
            Path(entry["file"]), entry["person"], (left, top, right, bottom), entry["angle_deg"],
            np.asarray(entry["marks"], np.float32), entry["measures"], np.zeros(0, np.float32),
        )  # fmt: skip
    return entries
