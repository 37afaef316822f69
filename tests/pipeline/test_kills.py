"""Runs ended at many moments: resumed, they give the same frames, and compute hardly anything again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
CLIPS, FRAMES = 8, 30
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked")


def decode(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def ended_runs(folder: Path, ends: int, scene: str) -> list[dict[str, Any]]:
    """What happened at each end, after all runs have gone on to the frames of one that nobody ended."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "killed_runs.py"), str(folder), str(ends), scene]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    whole = decode(folder / "whole.mp4")
    assert len(runs) == ends and len(whole) == FRAMES
    for run in runs:
        assert np.array_equal(decode(folder / run["file"]), whole), run
        if not run["playable_after_end"]:
            assert run["resumed"][-1] == CLIPS, run  # all clips, and the end was asked for
    assert not list(folder.glob("*.part"))
    return runs


def ended_within(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [run for run in runs if run["begun"] and not run["playable_after_end"]]


@forks
def test_twenty_kills(tmp_path: Path) -> None:
    """One clip at most is computed again."""
    within = ended_within(ended_runs(tmp_path, 20, "plain"))
    assert len(within) >= 10
    for run in within:
        assert run["resumed"][0] in (run["begun"][-1], run["begun"][-1] + 1), run


@forks
def test_a_photograph_pasted_back_with_networks_that_wait(tmp_path: Path) -> None:
    """Where a clip is written while the next is made, a kill costs both of them at most, a cancel the one in work."""
    pytest.importorskip("accelerate")
    within = ended_within(ended_runs(tmp_path, 6, "photo"))
    assert {run["cancelled"] for run in within} == {False, True}
    for run in within:
        lost = 0 if run["cancelled"] else 1
        assert run["begun"][-1] - lost <= run["resumed"][0] <= run["begun"][-1] + 1, run
    assert decode(tmp_path / "whole.mp4").shape[1:] == (160, 192, 3)
