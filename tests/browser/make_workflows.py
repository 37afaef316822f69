"""`python tests/browser/make_workflows.py`: draws `workflow_sources` in the real frontend and saves what it saves.

Out: workflows/NAME.json, subgraphs/NAME.json, and tests/host/api/NAME.json, the API form for comparison. With
--thumbnails every workflow is also run, on half a second of its sound, and four frames become workflows/NAME.jpg.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests" / "host")]

import workflow_sources as sources  # noqa: E402
from chromium import Browser  # noqa: E402
from comfy_client import Client, Graph  # noqa: E402
from comfy_host import build_host  # noqa: E402
from comfy_page import ComfyPage  # noqa: E402
from comfy_server import Server  # noqa: E402
from graphs import changed, node_of, stored  # noqa: E402
from host_recipe import COMFYUI_VERSION  # noqa: E402
from pack_project import project  # noqa: E402
from video_probe import probe  # noqa: E402

API = REPOSITORY / "tests" / "host" / "api"
WORKFLOWS = REPOSITORY / "workflows"
SUBGRAPHS = REPOSITORY / "subgraphs"

_ARRANGE = """(({places, notes, groups}) => {
  const graph = window.app.graph
  for (const [id, [x, y, width]] of Object.entries(places)) {
    const node = graph.getNodeById(Number(id))
    node.pos = [x, y]
    node.setSize([width, Math.max(node.computeSize()[1], node.type === 'PreviewImage' ? 300 : 0)])
    const after = node.widgets?.find(widget => widget.name === 'control_after_generate')
    if (after) after.value = 'fixed'
  }
  for (const {box: [x, y, width, height], text} of notes) {
    const note = LiteGraph.createNode('MarkdownNote')
    graph.add(note)
    note.pos = [x, y]
    note.setSize([width, height])
    note.widgets[0].value = text
    note.color = '#432'
    note.bgcolor = '#653'
  }
  for (const [title, ids] of Object.entries(groups)) {
    const group = new LiteGraph.LGraphGroup(title)
    const nodes = ids.map(id => graph.getNodeById(Number(id)))
    const left = Math.min(...nodes.map(node => node.pos[0])) - 20
    const top = Math.min(...nodes.map(node => node.pos[1])) - 90
    group.pos = [left, top]
    group.size = [
      Math.max(...nodes.map(node => node.pos[0] + node.size[0])) + 20 - left,
      Math.max(...nodes.map(node => node.pos[1] + node.size[1])) + 20 - top
    ]
    graph.add(group)
  }
})"""

_TO_SUBGRAPH = """(({ids, name, widgets}) => {
  const graph = window.app.graph
  const {subgraph, node} = graph.convertToSubgraph(new Set(ids.map(id => graph.getNodeById(Number(id)))))
  subgraph.name = name
  node.title = name
  node.properties.proxyWidgets = widgets
  const {nodes, subgraphs} = window.app.canvas._serializeItems([node])
  return {nodes, subgraphs}
})"""


def draw(page: ComfyPage, name: str, sheet: sources.Sheet) -> dict[str, Any]:
    """The sheet in the frontend -> the workflow as it would be saved."""
    page.load_api({key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs, _) in sheet.nodes.items()}, name)
    layout = {
        "places": {key: place for key, (_, _, place) in sheet.nodes.items()},
        "notes": [{"box": note.box, "text": note.text} for note in sheet.notes],
        "groups": sheet.groups,
    }
    page.browser.evaluate(f"{_ARRANGE}({json.dumps(layout)})")
    workflow = page.workflow()
    for node in workflow["nodes"]:
        if str(node["id"]) in sheet.models:
            node.setdefault("properties", {})["models"] = sheet.models[str(node["id"])]
    if sheet.models:  # of a node's models the frontend offers only those that its widgets name; of these all
        workflow["models"] = [model for models in sheet.models.values() for model in models]
    workflow["extra"] = {"ds": {"scale": 0.6, "offset": [600, 200]}}
    return workflow


def draw_subgraph(page: ComfyPage) -> dict[str, Any]:
    """The beginner's node, as Publish Subgraph saves it, out of the workflow that is open."""
    wanted = {
        "ids": sources.SUBGRAPH_NODES,
        "name": sources.SUBGRAPH_NAME,
        "widgets": sources.SUBGRAPH_WIDGETS,
    }
    made = page.browser.evaluate(f"{_TO_SUBGRAPH}({json.dumps(wanted)})")
    (node,) = made["nodes"]
    for slot in (*node.get("inputs", []), *node.get("outputs", [])):
        slot["link" if "link" in slot else "links"] = None
    return {
        "revision": 0,
        "last_node_id": node["id"],
        "last_link_id": 0,
        "nodes": [node],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": made["subgraphs"]},
        "extra": {"BlueprintDescription": sources.SUBGRAPH_DESCRIPTION},
    }


def name_origins(workflow: dict[str, Any]) -> None:
    """Write into every node which pack it comes from, as the frontend does for packs of the registry."""
    ours = {"cnr_id": project()["name"], "ver": project()["version"]}
    inner = [node for graph in workflow.get("definitions", {}).get("subgraphs", []) for node in graph["nodes"]]
    for node in (*workflow["nodes"], *inner):
        if node["type"].startswith("EMO_"):
            node["properties"] = {**ours, "Node name for S&R": node["type"], **node.get("properties", {})}
        elif node["type"] in ("CreateVideo", "SaveVideo", "PreviewImage"):
            core = {"cnr_id": "comfy-core", "ver": COMFYUI_VERSION}
            node["properties"] = {**core, "Node name for S&R": node["type"], **node.get("properties", {})}


def save(workflow: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(workflow, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def short(graph: Graph) -> Graph:
    """The same with a single clip of its sound: enough for a picture."""
    listener = node_of(graph, "EMO_EncodeAudio")
    return changed(graph, {f"{listener}.trim_start": 0.6, f"{listener}.trim_duration": 0.56})


def thumbnail(video: Path, path: Path, side: int = 192) -> None:
    """Four frames of a video, two by two."""
    from PIL import Image

    frames = probe(video).frames
    sheet = Image.new("RGB", (2 * side, 2 * side))
    for index in range(4):
        frame = (frames[round((index + 0.5) * len(frames) / 4)] * 255).byte().numpy()
        picture = Image.fromarray(frame).resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(picture, (index % 2 * side, index // 2 * side))
    sheet.save(path, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the shared workflows in the real frontend and save them.")
    parser.add_argument("--thumbnails", action="store_true", help="also run each and take a picture (minutes)")
    parser.add_argument("--only", choices=sorted(sources.SHEETS), help="one workflow")
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    assert chromium is not None, "no Chromium here (apt-get install chromium)"
    names = [options.only] if options.only else list(sources.SHEETS)
    with tempfile.TemporaryDirectory() as scratch, Server(build_host(), Path(scratch) / "comfyui") as server:
        with Browser(chromium, Path(scratch) / "profile") as browser:
            page = ComfyPage(browser, server.address)
            for name in names:
                workflow = draw(page, name, sources.SHEETS[name]())
                save(page.api(), API / f"{name}.json")
                if name == sources.SUBGRAPH_OF:
                    subgraph = draw_subgraph(page)
                    name_origins(subgraph)
                    save(subgraph, SUBGRAPHS / f"{sources.SUBGRAPH_NAME}.json")
                name_origins(workflow)
                save(workflow, WORKFLOWS / f"{name}.json")
        for name in (name for name in names if options.thumbnails and not sources.SHEETS[name]().models):
            with Client(server.address) as client:
                run = client.run(short(stored(name)), timeout_s=3600)
                assert run.end == "execution_success", run.error
                thumbnail(run.files(server.output)[0], WORKFLOWS / f"{name}.jpg")
            print(f"{name}: {run.ended - run.began:.0f} s")


if __name__ == "__main__":
    main()
