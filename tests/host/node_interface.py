"""What saved workflows depend on: ids of nodes, their inputs in order, their outputs.

`python tests/host/node_interface.py ADDRESS > tests/host/object_info.json` writes it anew from a running server, when
it was changed on purpose.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any


def interface(object_info: dict[str, Any]) -> dict[str, Any]:
    """Of our nodes: class id -> inputs [name, type, required or optional, default], outputs [name, type]."""
    return {name: _node(info) for name, info in sorted(object_info.items()) if name.startswith("EMO_")}


def _node(info: dict[str, Any]) -> dict[str, Any]:
    inputs = []
    for need in ("required", "optional"):
        for name in info["input_order"].get(need, []):
            kind, options = [*info["input"][need][name], {}][:2]
            is_choice = isinstance(kind, list) or kind == "COMBO"
            choices = kind if isinstance(kind, list) else options.get("options")
            fixed = choices if is_choice and name != "model" else None  # the models are those that lie there
            inputs.append([name, "COMBO" if is_choice else kind, need, fixed or options.get("default")])
    outputs = [list(pair) for pair in zip(info["output_name"], info["output"], strict=True)]
    return {"inputs": inputs, "outputs": outputs, "category": info["category"], "output_node": info["output_node"]}


if __name__ == "__main__":
    with urllib.request.urlopen(f"{sys.argv[1].rstrip('/')}/object_info", timeout=60) as answer:
        json.dump(interface(json.loads(answer.read())), sys.stdout, indent=1)
        print()
