"""One browser with ComfyUI's frontend in it, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from chromium import Browser
from comfy_page import ComfyPage

if TYPE_CHECKING:
    from comfy_host import Host
    from comfy_server import Server


@pytest.fixture(scope="session")
def page(chromium: str, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyPage]:
    with Browser(chromium, tmp_path_factory.mktemp("chromium")) as browser:
        yield ComfyPage(browser, server.address)


@pytest.fixture(scope="session")
def server(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ComfyUI of its own: the history of other tests' odd jobs (NaN) is JSON that no frontend reads."""
    from comfy_server import Server

    with Server(host, tmp_path_factory.mktemp("browsed")) as running:
        yield running
