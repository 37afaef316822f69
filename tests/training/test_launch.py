"""Several training processes: what becomes of them when the one that started them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
LAUNCHED = """
import os, sys, time
from pathlib import Path
from emo_core.training.launch import launch

def task(folder):
    (folder / os.environ["RANK"]).write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    launch(task, (Path(sys.argv[1]),), processes=2)
"""


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_processes_end_with_the_one_that_started_them(how: str, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(LAUNCHED)
    begun = subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # As a shell's `&` and nohup begin it: an interrupt, which torch sends to what is left alone, is not heard.
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if sys.platform != "win32" else None,
    )
    try:
        workers = [_read_pid(tmp_path / rank) for rank in "01"]
    finally:
        begun.send_signal(getattr(signal, how, signal.SIGTERM))
        begun.wait()
    gone, alive = psutil.wait_procs([psutil.Process(pid) for pid in workers if psutil.pid_exists(pid)], timeout=20)
    for process in alive:
        process.kill()
    assert not alive, gone


def _read_pid(path: Path) -> int:
    end = time.monotonic() + 120
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end, f"no process wrote {path.name}"
        time.sleep(0.05)
    return int(path.read_text())
