"""ComfyUI's frontend in the browser: what its own script offers (`window.app`) as Python functions.

In: graphs in the API form or the workflow form (version 0.4). Out: the same, after the frontend had them.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

from chromium import Browser

# A person who is not here for the first time: no tour, no news.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.32.9",
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.Minimap.Visible": False,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,  # text also where the graph is small
}
# What ComfyUI's frontend says of itself, without any pack: files that a fresh user folder lacks, and the registry that
# it may not ask offline.
NOT_OURS = (
    "/userdata",
    "user.css",
    "favicon.ico",
    "api.comfy.org",
    "/en.md",  # it asks for a page in the language first, then for the one without
    "Cannot read properties of undefined (reading 'id')",
)


class ComfyPage:
    """The frontend at `address`, ready."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.browser, self.address = browser, address
        for name, value in SETTINGS.items():
            data = json.dumps(value).encode()
            request = urllib.request.Request(f"{address}/api/settings/{name}", data, method="POST")
            urllib.request.urlopen(request, timeout=30).close()
        self.open()

    def open(self) -> None:
        """Load the page anew and wait until it stands."""
        self.browser.goto(self.address)
        self.browser.wait_for("window.app?.extensionManager && window.app.graph && window.app.canvas", 180)
        self.browser.wait_for("Object.keys(LiteGraph.registered_node_types).length > 100", 180)
        time.sleep(2)  # the last opened workflow comes after
        banner = "document.querySelector('button.absolute.right-4:has(.icon-\\\\[lucide--x\\\\])')"
        self.browser.evaluate(f"{banner}?.click()")

    def errors(self) -> list[str]:
        """What the console complained of, but for the frontend's own."""
        self.browser.evaluate("1")  # hear what is waiting
        return [error for error in self.browser.errors if not any(part in error for part in NOT_OURS)]

    def load_api(self, graph: Mapping[str, Any], name: str) -> None:
        self.browser.evaluate(f"window.app.loadApiJson({json.dumps(graph)}, {json.dumps(name)})")
        time.sleep(1)

    def load_workflow(self, workflow: Mapping[str, Any]) -> None:
        self.browser.evaluate(f"window.app.loadGraphData({json.dumps(workflow)})")
        time.sleep(1)

    def workflow(self) -> dict[str, Any]:
        """What Save would write."""
        saved: dict[str, Any] = self.browser.evaluate("window.app.graph.serialize()")
        return saved

    def api(self) -> dict[str, Any]:
        """What Run would queue, without the titles."""
        output = self.browser.evaluate("window.app.graphToPrompt().then(prompt => prompt.output)")
        return {
            key: {"class_type": node["class_type"], "inputs": dict(sorted(node["inputs"].items()))}
            for key, node in sorted(output.items(), key=lambda item: [int(part) for part in item[0].split(":")])
        }

    def missing_nodes(self) -> list[str]:
        """Types of nodes in the graph that no installed pack has."""
        script = "window.app.graph.nodes.filter(n => n.has_errors || !(n.type in LiteGraph.registered_node_types))"
        missing: list[str] = self.browser.evaluate(f"{script}.filter(n => !n.isSubgraphNode?.()).map(n => n.type)")
        return missing

    def fit_view(self) -> None:
        self.run("Comfy.Canvas.FitView")
        time.sleep(1.5)

    def run(self, command: str) -> None:
        self.browser.evaluate(f"window.app.extensionManager.command.execute({json.dumps(command)})")

    def click_text(self, text: str) -> None:
        """Click the innermost thing with just this text, as soon as it is there."""
        found = f"[...document.querySelectorAll('*')].filter(e => e.textContent.trim() === {json.dumps(text)}).at(-1)"
        self.browser.wait_for(found)
        self.browser.evaluate(f"{found}.click()")
        time.sleep(0.5)

    def text(self) -> str:
        shown: str = self.browser.evaluate("document.body.innerText")
        return shown
