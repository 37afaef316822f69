"""kill -9 at twenty moments of a run: resumed, it gives the same frames, and computes one clip again at most."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
KILLS = 20


def decode(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked")
def test_twenty_kills(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "killed_runs.py"), str(tmp_path), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    whole = decode(tmp_path / "whole.mp4")
    assert len(runs) == KILLS and len(whole) == 30
    killed_within = 0
    for run in runs:
        assert np.array_equal(decode(tmp_path / run["file"]), whole), run
        if run["begun"] and not run["playable_after_kill"]:
            killed_within += 1
            assert run["resumed"][0] in (run["begun"][-1], run["begun"][-1] + 1), run
        assert run["resumed"][-1] == 8 or run["playable_after_kill"], run  # 8: all clips, and the end was asked for
    assert killed_within >= KILLS // 2
    assert not list(tmp_path.glob("*.part"))
