"""The shared workflows, the template browser, the help panel and the beginner's node, in the real frontend.

Screenshots are left in output/browser/ for a person to look at.
"""

from __future__ import annotations

import json
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from comfy_page import ComfyPage
from pack_project import project

REPOSITORY = Path(__file__).parents[2]
SCREENSHOTS = REPOSITORY / "output" / "browser"
API = REPOSITORY / "tests" / "host" / "api"
WORKFLOWS = sorted((REPOSITORY / "workflows").glob("*.json"))
SUBGRAPH = REPOSITORY / "subgraphs" / "Talking Portrait.json"
NAMES = ["every_control", "long_audio_to_file", "sing", "talking_portrait"]
RELEASED = ["echomimic", "hallo"]  # these take a user's own files


DIALOG = "document.querySelector('[role=dialog]')?.innerText"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_workflows_are_there() -> None:
    assert [path.stem for path in WORKFLOWS] == sorted([*NAMES, *RELEASED])
    assert all(path.with_suffix(".jpg").is_file() for path in WORKFLOWS if path.stem in NAMES)


@pytest.mark.parametrize("name", RELEASED)
def test_released_files_are_offered_and_named_with_their_sizes(name: str) -> None:
    workflow = read(REPOSITORY / "workflows" / f"{name}.json")
    (loader,) = [node for node in workflow["nodes"] if node["type"] == "EMO_LoadModel"]
    (note,) = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "MarkdownNote"]
    models = loader["properties"]["models"]
    assert loader["widgets_values"][0] == models[0]["name"] and workflow["models"] == models
    for model in models:
        assert set(model) == {"name", "url", "directory"} and model["directory"] == "emo"
        assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith(f"/{model['name']}")
        (row,) = [line for line in note.splitlines() if line.startswith(f"| `{model['name']}`")]
        assert "GB |" in row or "MB |" in row


@pytest.mark.parametrize("path", [p for p in WORKFLOWS if p.stem in NAMES], ids=lambda path: path.stem)
def test_a_workflow_opens_as_it_was_saved(path: Path, page: ComfyPage) -> None:
    workflow = read(path)
    page.open()
    page.browser.errors.clear()
    page.load_workflow(workflow)
    page.fit_view()
    page.browser.screenshot(SCREENSHOTS / f"{path.stem}.png")
    assert page.missing_nodes() == []
    assert page.errors() == []
    assert not page.browser.evaluate(DIALOG)  # "missing node types"
    assert page.api() == read(API / f"{path.stem}.json")
    again = page.workflow()
    assert again["version"] == workflow["version"] == 0.4
    assert [node["type"] for node in again["nodes"]] == [node["type"] for node in workflow["nodes"]]


@pytest.mark.parametrize("name", RELEASED)
def test_the_frontend_offers_the_files_that_are_missing(name: str, page: ComfyPage) -> None:
    workflow = read(REPOSITORY / "workflows" / f"{name}.json")
    page.open()
    page.load_workflow(workflow)
    page.fit_view()
    labels = json.dumps([f"emo / {model['name']}" for model in workflow["models"]])
    # There may be two dialogs: another for the workflow that the page opened with.
    shown = "[...document.querySelectorAll('[role=dialog]')].map(dialog => dialog.innerText).join()"
    page.browser.wait_for(f"{labels}.every(label => {shown}.includes(label))")
    assert "Missing Models" in page.browser.evaluate(shown)
    page.browser.screenshot(SCREENSHOTS / f"{name}-files.png")
    for _ in range(2):
        page.browser.evaluate("document.querySelector('[role=dialog] button.p-dialog-close-button')?.click()")
        time.sleep(1)
    page.fit_view()
    page.browser.screenshot(SCREENSHOTS / f"{name}.png")
    assert page.missing_nodes() == [] and page.api() == read(API / f"{name}.json")
    # It asks the files' pages how large they are, which a test may not.
    asked = ("https://huggingface.co/", "fetching file size")
    assert [error for error in page.errors() if not any(part in error for part in asked)] == []
    page.load_workflow(read(REPOSITORY / "workflows" / "talking_portrait.json"))  # what the next page opens with


@pytest.mark.parametrize("path", [*WORKFLOWS, SUBGRAPH], ids=lambda path: path.stem)
def test_every_node_of_ours_says_which_pack_it_is_from(path: Path) -> None:
    workflow = read(path)
    inner = [node for graph in workflow.get("definitions", {}).get("subgraphs", []) for node in graph["nodes"]]
    ours = [node for node in (*workflow["nodes"], *inner) if node["type"].startswith("EMO_")]
    assert ours
    for node in ours:
        said = node["properties"]
        assert (said["cnr_id"], said["ver"]) == (project()["name"], project()["version"]), node["type"]


def test_the_template_browser_shows_them_with_pictures(page: ComfyPage) -> None:
    page.open()
    page.run("Comfy.BrowseTemplates")
    page.click_text("ComfyUI-EMO")
    page.browser.wait_for("document.body.innerText.includes('talking_portrait')")
    loaded = "[...document.querySelectorAll('img')].filter(i => i.naturalWidth > 100).map(i => i.alt)"
    page.browser.wait_for(f"{json.dumps(NAMES)}.every(name => {loaded}.includes(name))")
    page.browser.screenshot(SCREENSHOTS / "templates.png")
    shown = page.text()
    assert all(path.stem in shown for path in WORKFLOWS)


def test_the_subgraph_is_a_node_that_can_be_queued(page: ComfyPage) -> None:
    page.open()
    page.run("Workspace.ToggleSidebarTab.node-library")
    page.click_text("Subgraph Blueprints")
    page.browser.wait_for(f"document.body.innerText.includes({json.dumps(SUBGRAPH.stem)})")
    page.browser.screenshot(SCREENSHOTS / "library.png")
    page.run("Workspace.ToggleSidebarTab.node-library")
    page.load_workflow(read(SUBGRAPH))
    page.fit_view()
    page.browser.screenshot(SCREENSHOTS / "subgraph.png")
    assert page.errors() == []
    classes = sorted(node["class_type"] for node in page.api().values())
    assert classes == sorted(
        ["EMO_LoadModel", "EMO_PreparePortrait", "EMO_EncodeReference", "EMO_EncodeAudio", "EMO_Sampler", "CreateVideo"]
    )
    (node,) = page.workflow()["nodes"]
    assert [slot["name"] for slot in node["inputs"] if not slot.get("widget")] == ["image", "audio"]
    assert [slot["type"] for slot in node["outputs"]] == ["VIDEO"]


def test_the_help_panel_shows_our_page(page: ComfyPage) -> None:
    page.open()
    page.load_workflow(read(REPOSITORY / "workflows" / "talking_portrait.json"))
    page.fit_view()
    page.browser.errors.clear()
    page.browser.evaluate(
        "(() => { const node = app.graph.nodes.find(n => n.type === 'EMO_Sampler'); app.canvas.selectNode(node) })()"
    )
    button = "document.querySelector('[data-testid=info-button], button:has(.icon-\\\\[lucide--info\\\\])')"
    page.browser.wait_for(button)
    page.browser.evaluate(f"{button}.click()")
    page.browser.wait_for("document.querySelector('.node-help-content')?.innerText.length > 200")
    page.browser.screenshot(SCREENSHOTS / "help.png")
    heading = page.browser.evaluate("document.querySelector('.node-help-content h1')?.innerText")
    assert heading == "EMO Sampler", heading
    assert page.errors() == []


def test_locales_are_served(page: ComfyPage) -> None:
    address = urllib.parse.urljoin(page.address, "/api/i18n")
    shown = page.browser.evaluate(f"fetch({json.dumps(address)}).then(answer => answer.json())")
    for language in ("en", "zh"):
        assert "EMO_Sampler" in shown[language]["nodeDefs"]


SHORT = """(() => {
  const node = type => window.app.graph.nodes.find(node => node.type === type)
  const set = (type, name, value) => { node(type).widgets.find(widget => widget.name === name).value = value }
  set('EMO_EncodeAudio', 'trim_start', 0.6)
  set('EMO_EncodeAudio', 'trim_duration', 0.4)
  set('EMO_Sampler', 'steps', 2)
})()"""
VIDEO = "[...document.querySelectorAll('video')].find(video => video.videoWidth > 0)"


def test_run_in_the_frontend_ends_in_a_video_on_the_node(page: ComfyPage) -> None:
    """The first workflow as a person has it: opened, Run, and the video plays in Save Video."""
    page.open()
    page.browser.errors.clear()
    page.load_workflow(read(REPOSITORY / "workflows" / "talking_portrait.json"))
    page.browser.evaluate(SHORT)
    page.fit_view()
    page.run("Comfy.QueuePrompt")
    page.browser.wait_for(VIDEO, 180)
    page.fit_view()
    page.browser.screenshot(SCREENSHOTS / "run.png")
    assert page.browser.evaluate(f"[{VIDEO}.videoWidth, {VIDEO}.videoHeight]") == [512, 512]
    assert page.browser.evaluate(f"{VIDEO}.duration") == pytest.approx(0.4, abs=0.05)
    assert page.errors() == [] and not page.browser.evaluate(DIALOG)
