"""A headless Chromium over its DevTools protocol: open a page, run script in it, photograph it, hear its console."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import websocket

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-port=0",
    "--window-size=2000,1200",
    "--lang=en-US",
    "about:blank",
)


class ScriptError(RuntimeError):
    """The script in the page threw."""


class Browser:
    """Chromium in a process of its own, with one tab; a context manager. `profile` is a folder it may fill."""

    def __init__(self, executable: str, profile: Path) -> None:
        self.errors: list[str] = []  # of the console and of scripts, since the last `goto`
        self._number = 0
        self._process = subprocess.Popen(
            [executable, f"--user-data-dir={profile}", *FLAGS],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port = self._wait_for_port(profile / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            page = next(target for target in json.loads(answer.read()) if target["type"] == "page")
        self._socket = websocket.create_connection(page["webSocketDebuggerUrl"], timeout=60, suppress_origin=True)
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One DevTools command -> its result. What the page says meanwhile goes to `errors`."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
            self._hear(message)

    def goto(self, address: str) -> None:
        self.errors.clear()
        self.command("Page.navigate", url=address)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are awaited. ScriptError if it throws."""
        result = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise ScriptError(str(details.get("exception", {}).get("description") or details["text"]))
        return result["result"].get("value")

    def wait_for(self, script: str, timeout_s: float = 60) -> None:
        """Ask until the expression is truthy."""
        end = time.monotonic() + timeout_s
        while not self._holds(script):
            if time.monotonic() > end:
                raise TimeoutError(f"not true after {timeout_s:.0f} s: {script}")
            time.sleep(0.2)

    def _holds(self, script: str) -> bool:
        try:
            return bool(self.evaluate(f"Boolean({script})"))
        except RuntimeError:  # also while the page changes
            return False

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))

    def _hear(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.errors.append(str(details.get("exception", {}).get("description") or details["text"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            said = [str(part.get("value", part.get("description", ""))) for part in parameters["args"]]
            self.errors.append(" ".join(said))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            entry = parameters["entry"]
            self.errors.append(f"{entry['text']} ({entry.get('url', '')})")

    def _wait_for_port(self, file: Path, timeout_s: float = 60) -> int:
        end = time.monotonic() + timeout_s
        while not (file.exists() and file.read_text().strip()):
            if self._process.poll() is not None:
                raise RuntimeError(f"Chromium ended with {self._process.returncode}")
            if time.monotonic() > end:
                self._process.kill()
                raise RuntimeError("Chromium opened no DevTools port")
            time.sleep(0.1)
        return int(file.read_text().splitlines()[0])
