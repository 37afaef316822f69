"""What a browser says to ComfyUI, over HTTP and a websocket: queue a graph, watch it run, interrupt it."""

from __future__ import annotations

import json
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websocket

Graph = dict[str, dict[str, Any]]  # the API form: node id -> {"class_type", "inputs"}
_ENDS = ("execution_success", "execution_error", "execution_interrupted")
_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4  # types of binary messages


class Refused(RuntimeError):
    """The graph was not queued (HTTP 400). `node_errors`: node id -> what is wrong with it."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(json.dumps(answer))
        self.node_errors: dict[str, Any] = answer.get("node_errors") or {}


@dataclass
class Run:
    """What was seen of one queued graph. Times are of time.monotonic()."""

    prompt_id: str
    began: float = 0.0
    ended: float = 0.0
    end: str = ""  # one of _ENDS
    error: dict[str, Any] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)  # node ids that really ran, in order
    cached: set[str] = field(default_factory=set)
    progress: list[tuple[str, float, float]] = field(default_factory=list)  # node id, value, of
    previews: list[bytes] = field(default_factory=list)  # encoded pictures
    outputs: dict[str, Any] = field(default_factory=dict)  # node id -> what it shows

    @property
    def message(self) -> str:
        return str(self.error.get("exception_message", "")).strip()

    def files(self, output: Path) -> list[Path]:
        """The files that the nodes say they saved, in the server's `output` folder."""
        shown = [
            item for out in self.outputs.values() for kind in out.values() if isinstance(kind, list) for item in kind
        ]
        named = [item for item in shown if isinstance(item, dict) and item.get("type") == "output"]
        return list(dict.fromkeys(output / item["subfolder"] / item["filename"] for item in named))


class Client:
    """One browser tab. `watch(prompt_id)` must follow `queue(graph)`; a context manager."""

    def __init__(self, address: str) -> None:
        self.address, self.id = address, uuid.uuid4().hex
        host = urllib.parse.urlsplit(address).netloc
        self._socket = websocket.create_connection(f"ws://{host}/ws?clientId={self.id}", timeout=60)
        self._runs: dict[str, Run] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def get(self, path: str) -> Any:
        return json.loads(self.get_bytes(path))

    def get_bytes(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path, timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def post(self, path: str, body: object) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
        return json.loads(content) if content.strip() else None

    def queue(self, graph: Graph, workflow: Mapping[str, Any] | None = None) -> str:
        """-> the prompt's id. Refused if a node's inputs are wrong."""
        extra = {"extra_pnginfo": {"workflow": workflow}} if workflow else {}
        try:
            answer = self.post("/prompt", {"prompt": graph, "client_id": self.id, "extra_data": extra})
        except urllib.error.HTTPError as error:
            raise Refused(json.loads(error.read())) from error
        prompt_id = str(answer["prompt_id"])
        self._runs.setdefault(prompt_id, Run(prompt_id))
        return prompt_id

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    def watch(
        self, prompt_id: str, *, timeout_s: float = 300, on_event: Callable[[str, Run], None] | None = None
    ) -> Run:
        """Read messages until this prompt is done. `on_event(kind, run)` is called after every message about it."""
        run, limit = self._runs[prompt_id], time.monotonic() + timeout_s
        while not run.end:
            left = limit - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"the graph was not done after {timeout_s:.0f} s; last: {run.progress[-1:]}")
            self._socket.settimeout(left)
            message = self._socket.recv()
            kind, seen = self._take(message)
            if on_event is not None and seen is run:
                on_event(kind, run)
        return run

    def run(self, graph: Graph, *, timeout_s: float = 300) -> Run:
        return self.watch(self.queue(graph), timeout_s=timeout_s)

    def _take(self, message: str | bytes) -> tuple[str, Run | None]:
        """Enter one message into the run that it is about."""
        if isinstance(message, bytes):
            run = next((run for run in self._runs.values() if run.began and not run.end), None)
            if run is not None:
                run.previews.append(_picture(message))
            return "preview", run
        parsed = json.loads(message)
        kind, data = parsed["type"], parsed.get("data") or {}
        run = self._runs.get(data.get("prompt_id", ""))
        if run is not None:
            _enter(run, kind, data)
        return kind, run


def _enter(run: Run, kind: str, data: dict[str, Any]) -> None:
    if kind == "execution_start":
        run.began = time.monotonic()
    elif kind == "execution_cached":
        run.cached |= set(data["nodes"])
    elif kind == "executing" and data.get("node"):
        run.executed.append(data["node"])
    elif kind == "progress":
        run.progress.append((data["node"], data["value"], data["max"]))
    elif kind == "executed":
        run.outputs[data["node"]] = data["output"] or {}
    elif kind in _ENDS:
        run.end, run.ended = kind, time.monotonic()
        run.error = data if kind == "execution_error" else {}


def _picture(message: bytes) -> bytes:
    """The encoded picture in a binary message."""
    (kind,) = struct.unpack(">I", message[:4])
    if kind == _PREVIEW_WITH_METADATA:
        (length,) = struct.unpack(">I", message[4:8])
        return message[8 + length :]
    assert kind == _PREVIEW, f"a binary message of the unknown type {kind}"
    return message[8:]
