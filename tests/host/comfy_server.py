"""A running ComfyUI on the loopback interface, with this pack in custom_nodes. In: a `Host`. Out: its address."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from comfy_host import REPOSITORY, Host

BOOT = Path(__file__).with_name("boot_comfy.py")
FOLDERS = ("custom_nodes", "models", "input", "output", "temp", "user")
PACK_NAME = "ComfyUI-EMO"
HELPERS = Path(__file__).with_name("helper_pack")


class Server:
    """ComfyUI in a process of its own; a context manager. `folder` is its base directory, empty or used before.

    `pack` is linked into custom_nodes, and so are the packs `beside` it; `arguments` are further ones of
    ComfyUI's own command line; everything the server writes stays in `folder`.
    """

    def __init__(
        self,
        host: Host,
        folder: Path,
        *,
        pack: Path = REPOSITORY,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        beside: Sequence[Path] = (HELPERS,),
    ) -> None:
        self.host, self.folder = host, folder
        self.port = port or free_port()
        self.log = folder / "server.log"
        self._environment, self._arguments = dict(environment or {}), list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name, there in ((PACK_NAME, pack), *((path.name, path) for path in beside)):
            link = folder / "custom_nodes" / name
            if not link.exists():
                link.symlink_to(there, target_is_directory=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def start(self, timeout_s: float = 240) -> Server:
        """Start and wait until it answers. RuntimeError, with the end of its log, if it does not."""
        arguments = ["--cpu", "--base-directory", str(self.folder), "--disable-api-nodes", "--listen", "127.0.0.1"]
        arguments += ["--port", str(self.port), "--preview-method", "auto"]
        arguments += ["--database-url", f"sqlite:///{self.folder / 'user' / 'comfyui.db'}"]
        arguments += self._arguments
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.host.python), str(BOOT), str(self.host.comfyui), *arguments],
                cwd=self.folder,
                env=self._full_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + timeout_s
        while not self._answers():
            if self._process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended with {self._process.returncode}:\n{self.log_tail()}")
            if time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"ComfyUI did not answer within {timeout_s:.0f} s:\n{self.log_tail()}")
            time.sleep(0.3)
        return self

    def stop(self) -> None:
        """Ctrl-C, as a person ends it; killed if that does not help."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """kill -9: no chance to tidy up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log_tail(self, characters: int = 4000) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-characters:]

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _full_environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        cache = {"PYTHONPYCACHEPREFIX": str(self.host.folder / "pycache")}  # no bytecode in the linked repository
        return {**inherited, **cache, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", **self._environment}

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/system_stats", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def remove(folder: Path) -> None:
    """A base directory and all in it; the linked pack stays."""
    shutil.rmtree(folder, ignore_errors=True)
