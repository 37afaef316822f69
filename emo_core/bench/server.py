"""What the graph costs on top of the library: the same video made by a running ComfyUI and by this process, in turns.

In: the address of a server that has the pack (`python tests/host/serve.py` starts one). Out: both times. The server's
graph ends in EMO Sample To Video; here the same clips go into the same kind of file. Everything but the sampling is
in the server's cache: only the seed changes from turn to turn.
"""

from __future__ import annotations

import http.client
import itertools
import json
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import EmoInputError
from .measure import Versus, versus

# Node id -> class and the sockets that are wired; what is left takes the server's own defaults.
GRAPH: dict[str, tuple[str, dict[str, list[str | int]]]] = {
    "model": ("EMO_LoadModel", {}),
    "inputs": ("EMO_ExampleInputs", {}),
    "portrait": ("EMO_PreparePortrait", {"image": ["inputs", 0]}),
    "reference": (
        "EMO_EncodeReference",
        {"reference_net": ["model", 1], "vae": ["model", 3], "portrait": ["portrait", 1]},
    ),
    "voice": ("EMO_EncodeAudio", {"audio_encoder": ["model", 2], "audio": ["inputs", 1]}),
    "video": (
        "EMO_SampleToVideo",
        {"backbone": ["model", 0], "reference": ["reference", 0], "emo_audio": ["voice", 0], "vae": ["model", 3]},
    ),
}
FIRST_SEED = 1_000_000  # beyond what somebody's own queue is likely to hold


@dataclass(frozen=True)
class Overhead:
    """Seconds of the server's job and of the library's call."""

    times: Versus

    def as_text(self) -> str:
        times = self.times
        return (
            f"graph: {times.a.median:.2f} s in the server, {times.b.median:.2f} s in the library:"
            f" {times.ratio:.3f}x (target 1.05x)"
        )


def overhead(address: str, *, turns: int) -> Overhead:
    """The bundled portrait and voice with emo-mini, in the server and here."""
    address = address.rstrip("/")
    graph = build_graph(_ask(address, "/object_info"))
    seeds = itertools.count(FIRST_SEED)

    def in_server() -> None:
        run_graph(address, with_seed(graph, next(seeds)))

    with tempfile.TemporaryDirectory() as folder:
        here = _library_job(Path(folder))
        return Overhead(versus(in_server, lambda: next(here), turns))


def check_server(address: str) -> None:
    """Raises EmoInputError unless a ComfyUI with this pack answers at the address."""
    build_graph(_ask(address.rstrip("/"), "/object_info"))


def build_graph(object_info: dict[str, Any]) -> dict[str, Any]:
    """GRAPH in the API's form, every other required widget at the server's default."""
    built: dict[str, dict[str, Any]] = {}
    for name, (kind, links) in GRAPH.items():
        if kind not in object_info:
            raise EmoInputError("server", f"no node {kind}", "a ComfyUI that has this pack", "See its start-up log.")
        inputs: dict[str, Any] = dict(links)
        for widget, (options, *more) in object_info[kind]["input"].get("required", {}).items():
            if widget not in inputs:
                settings = more[0] if more else {}
                choices = options if isinstance(options, list) else settings.get("options", [None])
                inputs[widget] = settings.get("default", choices[0])
        built[name] = {"class_type": kind, "inputs": inputs}
    built["model"]["inputs"]["precision"] = "float32"
    return built


def with_seed(graph: dict[str, Any], seed: int) -> dict[str, Any]:
    video = graph["video"]
    return graph | {"video": video | {"inputs": video["inputs"] | {"seed": seed, "filename_prefix": "bench/EMO"}}}


def run_graph(address: str, graph: dict[str, Any], *, wait_s: float = 0.02) -> None:
    """Queue a graph and wait for its end. Raises EmoInputError with the server's words if it fails."""
    prompt_id = _ask(address, "/prompt", {"prompt": graph})["prompt_id"]
    while True:
        history = _ask(address, f"/history/{prompt_id}")
        if prompt_id in history:
            break
        time.sleep(wait_s)
    status = history[prompt_id]["status"]
    if status["status_str"] != "success":
        raise EmoInputError("server", json.dumps(status["messages"][-1])[:500], "a graph that runs")


def _library_job(folder: Path) -> Iterator[None]:
    """Each `next` samples and writes one video; what the server has in its cache is made before."""
    from ..audio.file import read_audio
    from ..cli import DEMO_PORTRAIT, DEMO_VOICE
    from ..data import GenerateSettings
    from ..face.crop import prepare_portrait
    from ..face.image import read_image
    from ..pipeline.audio import encode_audio
    from ..pipeline.generate import generate
    from ..pipeline.reference import encode_reference
    from ..video import write_video
    from ..weights.file import load_model

    model = load_model("emo-mini")
    reference = encode_reference(model, prepare_portrait(read_image(DEMO_PORTRAIT), model.config.clip.size))
    audio = encode_audio(model, read_audio(DEMO_VOICE), model.config.clip.fps)
    settings = GenerateSettings()
    for turn in itertools.count():
        clips = generate(model, reference, audio, settings=replace(settings, seed=FIRST_SEED + turn))
        write_video(folder / f"{turn}.mp4", clips, audio.fps, audio.waveform, overlap=True)
        yield


def _ask(address: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON that the server answers to a GET, or to a POST where there is a body."""
    try:
        parts = urllib.parse.urlsplit(address)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=60)
    except (ValueError, http.client.HTTPException) as error:  # a port beyond 65535, half an address
        raise EmoInputError("server", f"{address} ({error})", "an address such as http://127.0.0.1:8188") from error
    try:
        sent = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, sent, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise EmoInputError(
            "server", f"{address} ({error})", "a running ComfyUI", "See tests/host/serve.py."
        ) from error
    finally:
        connection.close()
    if answer.status != 200:
        raise EmoInputError("server", f"{answer.status}: {text[:500].decode(errors='replace')}", "200, OK")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        said = f"{address}, which answers with {text[:60].decode(errors='replace')!r}"
        raise EmoInputError("server", said, "a running ComfyUI", "See tests/host/serve.py.")
    return found
