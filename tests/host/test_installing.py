"""Installing the pack: what pip changes in the host, what the registry's tool says, and the published zip by itself."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from comfy_client import Client
from comfy_host import REPOSITORY, Host, HostUnavailable, tools_python
from comfy_server import Server

SNAPSHOT = json.loads(Path(__file__).with_name("object_info.json").read_text(encoding="utf-8"))

# What the registry's scan is for, and what does not load in every host (facts: torchvision, torchaudio).
FORBIDDEN_IMPORTS = {"torchvision", "torchaudio", "folder_paths", "subprocess", "server", "aiohttp", "pip", "ctypes"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ATTRIBUTES = {"routes", "PromptServer", "system", "popen"}


def test_requirements_change_no_package_of_the_host(host: Host) -> None:
    before, after = host.packages_before, host.packages_after
    assert host.planned and not set(host.planned) & set(before), "pip would replace packages of the host"
    assert {name: after.get(name) for name in before} == before
    assert before["transformers"].startswith("4.") and "diffusers" in after


def test_newer_hosts_take_the_schemas(host: Host) -> None:
    script = Path(__file__).with_name("newer_schemas.py")
    environment = {**os.environ, "PYTHONPATH": str(host.newer_api), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [str(host.python), str(script), str(REPOSITORY)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.splitlines()[-1])
    assert {"search_aliases", "essentials_category", "has_intermediate_output"} <= set(
        made["fields"]
    )  # newer than 0.3.75
    for name, node in SNAPSHOT.items():
        assert sorted(made["nodes"][name]["inputs"]) == sorted(each[0] for each in node["inputs"]), name
        assert made["nodes"][name]["outputs"] == [each[0] for each in node["outputs"]], name
    assert made["nodes"]["EMO_LoadModel"]["aliases"]


@pytest.fixture(scope="module")
def packed(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip that `comfy node pack` makes of the tracked files as they are now."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("no git checkout to pack")
    try:
        python = tools_python(host)
    except HostUnavailable as error:
        pytest.skip(f"NOT PACKED: comfy-cli cannot be installed. {error}")
    tree = tmp_path_factory.mktemp("pack")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, tree / name)
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=tree, check=True, capture_output=True)
    said = [_comfy(python, action, tree) for action in ("validate", "pack")]
    assert "All validation checks passed" in said[0] and "warning" not in said[0].lower(), said[0]
    return tree / "node.zip"


def test_the_zip_holds_what_is_needed_and_little_else(packed: Path) -> None:
    names = zipfile.ZipFile(packed).namelist()
    needed = [
        "__init__.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md", "nodes/__init__.py",
        "emo_core/demo/song.flac", "emo_core/weights/emo-mini/vae.safetensors", "workflows/talking_portrait.json",
        "workflows/talking_portrait.jpg", "subgraphs/Talking Portrait.json",
    ]  # fmt: skip
    assert not [name for name in needed if name not in names]
    assert not [name for name in names if name.startswith(("tests/", ".ci/", ".git"))]
    assert packed.stat().st_size < 60 * 2**20


def test_nothing_forbidden_is_in_the_zip(packed: Path) -> None:
    found = []
    with zipfile.ZipFile(packed) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                found += [f"{name}:{line}: {what}" for line, what in _forbidden(archive.read(name).decode())]
    assert not found, "\n".join(found)


def test_a_host_with_the_unpacked_zip_boots(packed: Path, host: Host, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(unpacked)
    with Server(host, tmp_path / "comfyui", pack=unpacked) as server, Client(server.address) as client:
        assert set(SNAPSHOT) <= set(client.get("/object_info"))
        (templates,) = client.get("/workflow_templates").values()
        assert "talking_portrait" in templates
        assert "IMPORT FAILED" not in server.log_tail(100_000)


def _comfy(python: Path, action: str, folder: Path) -> str:
    command = [str(python.with_name("comfy")), "--skip-prompt", "--no-enable-telemetry", "node", action]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _forbidden(source: str) -> list[tuple[int, str]]:
    """(line, what) of everything that a scan of the registry, or another host, would stumble over."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
            found += [(node.lineno, f"import {name}") for name in names if name in FORBIDDEN_IMPORTS | {"pickle"}]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            name = (node.module or "").split(".")[0]
            unsafe = name == "pickle" and [alias.name for alias in node.names] != ["UnpicklingError"]
            found += [(node.lineno, f"from {name}")] if name in FORBIDDEN_IMPORTS or unsafe else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            found.append((node.lineno, f"{node.func.id}()"))
        elif isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_ATTRIBUTES:
            found.append((node.lineno, f".{node.attr}"))
    return found
