"""What the nodes say of themselves, without a host: `descriptions()` gives node id -> schema.

`python tests/nodes/described.py` writes it into locales/en/nodeDefs.json, which must say the same, and the order of
the inputs into `order.json` beside this file. That order only grows: a saved workflow keeps the values of a node's
widgets as a list, by their places, and an input that is put between two others gives every old workflow wrong values
without a word.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ROOT / "locales"
ORDER = ROOT / "tests" / "nodes" / "order.json"
PACK = "emo_pack_described"


@dataclass
class Socket:
    """An input or an output, of any type."""

    id: str = ""
    display_name: str = ""
    tooltip: str = ""
    control_after_generate: bool = False
    is_output_list: bool = False
    types: Any = None


class Kind:
    """A type of sockets, such as io.Int."""

    Input = Output = Socket


@dataclass
class Schema:
    """The fields of io.Schema that a person reads."""

    node_id: str
    display_name: str
    description: str
    inputs: list[Socket]
    outputs: list[Socket]
    hidden: list[Any] = field(default_factory=list)
    is_output_node: bool = False


class Types(types.ModuleType):
    """The module `io`: every name in it that is not here is a type of sockets."""

    Schema, ComfyNode = Schema, object
    Hidden = types.SimpleNamespace(prompt=None, extra_pnginfo=None)

    @staticmethod
    def Custom(name: str) -> type[Kind]:
        return Kind

    def __getattr__(self, name: str) -> type[Kind]:
        if name.startswith("__"):
            raise AttributeError(name)
        return Kind


@contextmanager
def _host_that_only_describes() -> Iterator[None]:
    """As much of comfy_api as importing the nodes takes; afterwards it and the pack are forgotten."""
    package, latest = types.ModuleType("comfy_api"), types.ModuleType("comfy_api.latest")
    contents = {"io": Types("io"), "ui": types.ModuleType("ui"), "ComfyExtension": object}
    for name, value in contents.items():
        setattr(latest, name, value)
    sys.modules |= {"comfy_api": package, "comfy_api.latest": latest}
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] in ("comfy_api", PACK)]:
            del sys.modules[name]


def descriptions() -> dict[str, Schema]:
    """Node id -> schema, in the order of the extension's list."""
    with _host_that_only_describes():
        spec = importlib.util.spec_from_file_location(
            PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[PACK] = module
        spec.loader.exec_module(module)
        extension = asyncio.run(module.comfy_entrypoint())
        schemas = [node.define_schema() for node in asyncio.run(extension.get_node_list())]
    return {schema.node_id: schema for schema in schemas}


def english() -> dict[str, Any]:
    """The contents of locales/en/nodeDefs.json."""
    return {name: _in_words(schema) for name, schema in descriptions().items()}


def _in_words(schema: Schema) -> dict[str, Any]:
    inputs = {}
    for socket in schema.inputs:
        inputs[socket.id] = {"name": socket.id, "tooltip": socket.tooltip}
        if socket.control_after_generate:  # the frontend puts this widget after it
            inputs["control_after_generate"] = {"name": "control after generate"}
    outputs = {
        str(index): {"name": socket.display_name, "tooltip": socket.tooltip}
        for index, socket in enumerate(schema.outputs)
    }
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": inputs,
        "outputs": outputs,
    }


def moved() -> list[str]:
    """The nodes whose inputs do not begin with those of `order.json`, in that order."""
    kept = json.loads(ORDER.read_text(encoding="utf-8"))
    now = {name: list(node["inputs"]) for name, node in english().items()}
    return [name for name, inputs in kept.items() if now.get(name, [])[: len(inputs)] != inputs]


def main() -> None:
    if moved():
        sys.exit(f"inputs may only be added at the end: {', '.join(moved())}")
    order = {name: list(node["inputs"]) for name, node in english().items()}
    ORDER.write_text(json.dumps(order, indent=1) + "\n", encoding="utf-8")
    text = json.dumps(english(), indent=2, ensure_ascii=False) + "\n"
    path = LOCALES / "en" / "nodeDefs.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
