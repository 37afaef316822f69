"""A finished video dropped on the canvas opens as the graph that made it, whatever other packs' nodes are in it.

The frontend (1.32.9) reads mp4, mov, m4v and webm; an mkv is refused by it, whoever wrote it, although its tags hold
the same.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import av
import pytest
from comfy_client import Client
from comfy_page import ComfyPage
from comfy_server import Server
from graphs import changed, stored

REPOSITORY = Path(__file__).parents[2]
RUN_S = 1800
KINDS = {"mp4": "video/mp4", "mov": "video/quicktime", "webm": "video/webm", "mkv": "video/x-matroska"}
# Braces that do not match, ends of texts in several alphabets: what a note of a workflow may hold.
NOTE = 'so } it { goes }} "{" \\ 肖像 \u2028 \U0001f600'

DROP = """(async ({name, type, content}) => {
  const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0))
  const moved = new DataTransfer()
  moved.items.add(new File([bytes], name, {type}))
  const canvas = document.querySelector('#graph-canvas')
  const about = {dataTransfer: moved, bubbles: true, cancelable: true, clientX: 1900, clientY: 900}
  for (const kind of ['dragenter', 'dragover', 'drop']) canvas.dispatchEvent(new DragEvent(kind, about))
})"""


def graph_with_nan(kind: str) -> Any:
    """One short clip, steered by a node that the host writes NaN for."""
    changes = {
        "3.size": 256,
        "5.trim_start": 0.6, "5.trim_duration": 0.4, "6.steps": 1, "6.guidance": 1.0, "6.format": kind,
        "6.filename_prefix": f"video/dropped_{kind}", "30": ("TestAlways", {"value": 0.4}),
        "31": ("EMO_SpeedController", {"speed": ["30", 0], "curve": ""}), "6.control": ["31", 0],
    }  # fmt: skip
    return changed(stored("long_audio_to_file"), changes)


def workflow_of(page: ComfyPage, graph: Any) -> dict[str, Any]:
    """What the frontend would send with the graph: with a note in it."""
    page.load_api(graph, "dropped")
    workflow = page.workflow()
    workflow["nodes"].append(
        {
            "id": 99, "type": "MarkdownNote", "pos": [0, 0], "size": [200, 100], "flags": {}, "order": 0, "mode": 0,
            "inputs": [], "outputs": [], "properties": {}, "widgets_values": [NOTE],
        }
    )  # fmt: skip
    return workflow


def drop(page: ComfyPage, file: Path) -> None:
    content = base64.b64encode(file.read_bytes()).decode()
    said = {"name": file.name, "type": KINDS[file.suffix[1:]], "content": content}
    page.browser.evaluate(f"{DROP}({json.dumps(said)})")


@pytest.mark.parametrize("sent", ["workflow", "prompt alone"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_video_opens_as_the_graph_that_made_it(
    kind: str, sent: str, page: ComfyPage, client: Client, server: Server
) -> None:
    page.open()
    graph = graph_with_nan(kind)
    workflow = workflow_of(page, graph) if sent == "workflow" else None
    run = client.watch(client.queue(graph, workflow), timeout_s=RUN_S)
    assert run.end == "execution_success", run.error
    (file,) = run.files(server.output)
    with av.open(str(file)) as container:
        tags = {name.lower(): json.loads(text) for name, text in container.metadata.items() if text.startswith("{")}
    assert "NaN" not in json.dumps(tags) and tags["prompt"]["30"]["class_type"] == "TestAlways"
    assert tags.get("workflow") == workflow
    page.browser.evaluate("window.app.graph.clear()")
    drop(page, file)
    if kind == "mkv":
        page.browser.wait_for("document.body.innerText.includes('Unable to find workflow in')")
        return
    page.browser.wait_for("window.app.graph.nodes.some(node => node.type === 'EMO_SampleToVideo')")
    opened = page.api()
    assert {key: node["class_type"] for key, node in opened.items()} == {
        key: node["class_type"] for key, node in graph.items()
    }
    assert opened["31"]["inputs"]["speed"] == ["30", 0]
    if sent == "workflow":
        notes = [node for node in page.workflow()["nodes"] if node["type"] == "MarkdownNote"]
        assert [node["widgets_values"] for node in notes] == [[NOTE]]
