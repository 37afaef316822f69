"""Runs `in_host.py` once in the interpreter of a real ComfyUI and makes a test of each of its checks."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from comfy_host import Host

SCRIPT = Path(__file__).with_name("in_host.py")
CHECKS = [
    node.name
    for node in ast.parse(SCRIPT.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]
FOLDERS = ("input", "output", "models", "temp", "user", "custom_nodes")


@pytest.fixture(scope="module")
def results(host: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Check -> its traceback, empty where it passed."""
    work = tmp_path_factory.mktemp("host")
    for name in FOLDERS:
        (work / name).mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [str(host.python), str(SCRIPT), str(host.comfyui), str(work)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
        env=environment,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
    assert lines, done.stderr[-4000:]
    return {line["check"]: line["error"] for line in lines}


@pytest.mark.parametrize("check", CHECKS)
def test_in_host(results: dict[str, str], check: str) -> None:
    assert check in results, "the host died before this check"
    assert not results[check], results[check]
