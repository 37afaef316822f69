"""Every node is described in every place where a person reads of it: the two locales and the help pages."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from described import LOCALES, ORDER, ROOT, english, moved

HELP = ROOT / "web" / "docs"
MAX_HELP_BYTES = 1_500_000  # pictures included


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    """What the schemas say, in the form of nodeDefs.json."""
    return english()


def locale(language: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    return read


def keys(tree: Any, path: str = "") -> list[str]:
    """The paths to all texts."""
    if not isinstance(tree, dict):
        return [path]
    return [found for name, below in tree.items() for found in keys(below, f"{path}/{name}")]


def texts(tree: Any) -> list[str]:
    return [tree] if isinstance(tree, str) else [text for below in tree.values() for text in texts(below)]


def test_english_is_what_the_nodes_say(said: dict[str, Any]) -> None:
    assert locale("en") == said, "run: python tests/nodes/described.py"


def test_old_workflows_find_their_values(said: dict[str, Any]) -> None:
    """Seen: a workflow of an earlier version, whose paste_back became guidance_from."""
    assert not moved(), "inputs may only be added at the end"
    assert json.loads(ORDER.read_text(encoding="utf-8")) == {name: list(node["inputs"]) for name, node in said.items()}


def test_every_text_is_translated(said: dict[str, Any]) -> None:
    chinese = locale("zh")
    assert sorted(keys(chinese)) == sorted(keys(said))
    assert all(text.strip() for text in texts(chinese))
    same = [text for text in texts(chinese) if not re.search("[\u4e00-\u9fff]", text)]
    assert set(same) == {"VAE"}


def test_no_text_is_forgotten(said: dict[str, Any]) -> None:
    assert len(said) == 15 and all(text.strip() for text in texts(said))


def test_every_node_has_a_help_page_with_its_sockets_and_a_picture(said: dict[str, Any]) -> None:
    assert {page.stem for page in HELP.glob("*.md")} == set(said)
    for name, node in said.items():
        page = (HELP / f"{name}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {node['display_name']}\n")
        assert "## Common mistakes" in page
        marked = {word for bold in re.findall(r"\*\*([^*]+)\*\*", page) for word in re.split(r",\s+", bold)}
        sockets = {*node["inputs"], *(output["name"] for output in node["outputs"].values())}
        assert not sockets - marked - {"control_after_generate"}, name
        pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)
        assert pictures and all((HELP / picture).is_file() for picture in pictures), name


def test_the_help_is_small() -> None:
    assert sum(file.stat().st_size for file in HELP.iterdir()) < MAX_HELP_BYTES
