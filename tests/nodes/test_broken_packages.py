"""A host in which another pack's accelerator is broken: all nodes are there, and one says whose fault it is."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from comfy_host import Host

SCRIPT = Path(__file__).with_name("broken_packages.py")
SNAPSHOT = Path(__file__).parents[1] / "host" / "object_info.json"
FOLDERS = ("input", "output", "models", "temp", "user", "custom_nodes")
# What was seen with packages that were built for another torch; and all at once.
KINDS = {
    "xformers": "ImportError(\"cannot import name 'SAC_IGNORED_OPS' from 'torch.utils.checkpoint'\")",
    "flash_attn": "ImportError('flash_attn_2_cuda.so: undefined symbol')",
    "bitsandbytes": "RuntimeError('CUDA Setup failed')",
    "peft": "AttributeError('module torch has no attribute xpu')",
    "onnxruntime": "OSError('DLL load failed')",
}


def put(site: Path, name: str, error: str) -> None:
    """A package that pip knows and that raises this when it is imported."""
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").write_text(f"raise {error}\n", encoding="utf-8")
    info = site / f"{name}-0.0.28.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.28\n", encoding="utf-8")
    (info / "RECORD").write_text(f"{name}/__init__.py,,\n", encoding="utf-8")


@pytest.mark.parametrize("broken", [("xformers",), tuple(KINDS)], ids=["xformers", "all"])
def test_all_nodes_are_there_and_say_what_is_broken(broken: tuple[str, ...], host: Host, tmp_path: Path) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    for name in broken:
        put(site, name, KINDS[name])
    for name in FOLDERS:
        (work / name).mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(site)}
    done = subprocess.run(
        [str(host.python), str(SCRIPT), str(host.comfyui), str(work)],
        capture_output=True, text=True, check=False, timeout=600, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["nodes"] == sorted(json.loads(SNAPSHOT.read_text(encoding="utf-8")))
    assert seen["pasted"] == [1, 768, 768, 3] and seen["speed"] == [0.0, 1.0]
    for kind, twice in seen["told"].items():
        for message in twice:
            if kind == "EMO_LoadAudioEncoder" and message == "nothing":
                continue  # a network of transformers', which asks for fewer of them
            name = message.removeprefix("EmoInputError: ").split(":")[0]
            assert name in broken, message
            assert "found version 0.0.28" in message and f"pip uninstall {name}" in message, message
