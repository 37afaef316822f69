"""Damaged journals: work is begun anew or gone on with, never a traceback, never somebody else's folder cleared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fuzzing import fuzz

from emo_core.data import ClipState
from emo_core.video import find_unfinished, open_job
from emo_core.video.journal import JOURNAL, read_journal

MINE = b"holiday"


def seeds(folder: Path) -> list[Path]:
    job = open_job(folder / "a.mp4", {"seed": 1}, about={"portrait": "me.jpg"})
    for index in range(2):
        job.add(data=b"clip", frames=3, state=ClipState(index + 1, torch.zeros(1, 4, 2, 2)))
    job.release()
    good = [folder / "a.json", folder / "a.safetensors"]
    good[0].write_bytes((job.folder / JOURNAL).read_bytes())
    good[1].write_bytes((job.folder / "state-00001.safetensors").read_bytes())
    return good


def read(path: Path) -> None:
    """As the journal, or the state, of a job that somebody goes on with."""
    with_name = path.parent / "a.mp4"
    job = open_job(with_name, {"seed": 1}, resume="never")
    job.add(data=b"clip", frames=3, state=ClipState(1, torch.zeros(1, 4, 2, 2)))
    job.release()
    mine = job.folder / "mine.txt"
    mine.write_bytes(MINE)
    (job.folder / (JOURNAL if path.suffix == ".json" else "state-00000.safetensors")).write_bytes(path.read_bytes())
    try:
        for item in find_unfinished(path.parent):
            assert str(item)
        open_job(with_name, {"seed": 1}).release()
    finally:
        assert mine.read_bytes() == MINE
        mine.unlink()
        if read_journal(job.folder) is None:  # it was refused as not ours
            (job.folder / JOURNAL).unlink()
            for left in job.folder.iterdir():
                left.unlink()


@pytest.mark.parametrize("seed", [0])
def test_damaged_journals_and_states(seed: int) -> None:
    assert not fuzz(__file__, count=300, seed=seed)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("segments", None),
        ("segments", 5),
        ("segments", [5]),
        ("segments", [{"file": "../../mine", "size": 4, "frames": 3}]),
        ("segments", [{"file": "clip-00000", "size": "4", "frames": 3}]),
        ("segments", [{"file": "clip-00000", "size": 4, "frames": -3}]),
        ("segments", [{"file": "clip-00000", "size": 4, "frames": float("nan")}]),
        ("state", "../state-00000.safetensors"),
        ("state", 7),
        ("inputs", []),
        ("output", 3),
        ("about", "x"),
        ("version", "2"),
        ("version", 99),
    ],
)
def test_values_that_no_job_writes_are_damage(tmp_path: Path, field: str, value: object) -> None:
    seeds(tmp_path)
    (folder,) = tmp_path.glob("*.part")
    said = json.loads((folder / JOURNAL).read_text())
    (folder / JOURNAL).write_text(json.dumps({**said, field: value}, indent=1))
    journal = read_journal(folder)
    assert journal is not None and journal.damaged
    assert open_job(tmp_path / "a.mp4", {"seed": 1}).state is None
