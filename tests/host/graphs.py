"""The stored API form of the shared workflows, and small changes to them for tests."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from comfy_client import Graph

API = Path(__file__).with_name("api")
RELEASED = ("echomimic", "hallo")  # these take a user's own files
NAMES = sorted(path.stem for path in API.glob("*.json") if path.stem not in RELEASED)
FPS = 25  # emo-mini's
EXAMPLE_S = 4.0  # the bundled sounds are that long


def stored(name: str) -> Graph:
    """A shared workflow as it is queued."""
    graph: Graph = json.loads((API / f"{name}.json").read_text(encoding="utf-8"))
    return graph


def changed(graph: Graph, changes: dict[str, Any]) -> Graph:
    """`changes`: "node.input" -> value, or "node" -> a whole node to add as (class, inputs)."""
    graph = copy.deepcopy(graph)
    for place, value in changes.items():
        node, _, name = place.partition(".")
        if name:
            graph[node]["inputs"][name] = value
        else:
            graph[node] = {"class_type": value[0], "inputs": value[1]}
    return graph


def quick(**more: Any) -> Graph:
    """talking_portrait at 256 pixels with one short clip of two steps. Keywords: "node_input" -> value."""
    changes = {"3.size": 256, "5.trim_start": 0.6, "5.trim_duration": 0.4, "6.steps": 2}
    return changed(stored("talking_portrait"), {**changes, **{key.replace("_", ".", 1): more[key] for key in more}})


def node_of(graph: Graph, kind: str) -> str:
    """The id of the only node of a class."""
    (found,) = [key for key, node in graph.items() if node["class_type"] == kind]
    return found


def seconds(graph: Graph) -> float:
    """How long the video of a graph with example inputs has to be."""
    inputs = graph[node_of(graph, "EMO_EncodeAudio")]["inputs"]
    left = EXAMPLE_S - inputs["trim_start"]
    used: float = inputs["trim_duration"] or left
    lead = sum(round(inputs.get(name, 0.0) * FPS) for name in ("lead_in", "lead_out"))
    return min(left, used) + lead / FPS
