"""What the tests against a real ComfyUI share: one built host, one server, for the whole session.

Where the host cannot be built (no network, the wheel gone) or no browser is installed, those tests are skipped, and a
line at the end says so and why.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from comfy_client import Client
    from comfy_host import Host
    from comfy_server import Server

# Side by side (`-n`), each process keeps to one core; so do those that it starts.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

_NOT_RUN: dict[str, str] = {}


@pytest.fixture(scope="session")
def host() -> Host:
    """The built host; tests that ask for it are skipped where it cannot be had."""
    from comfy_host import HostUnavailable, build_host

    try:
        return build_host()
    except HostUnavailable as error:
        _NOT_RUN["host"] = f"NOT TESTED AGAINST COMFYUI: the host cannot be built. {error}"
        pytest.skip(_NOT_RUN["host"])


@pytest.fixture(scope="session")
def server(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One ComfyUI with this pack, shared by all tests."""
    from comfy_server import Server

    with Server(host, tmp_path_factory.mktemp("comfyui")) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    from comfy_client import Client

    with Client(server.address) as connected:
        yield connected


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        _NOT_RUN["chromium"] = "NOT TESTED IN A BROWSER: no Chromium here (apt-get install chromium)."
        pytest.skip(_NOT_RUN["chromium"])
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was logged of names that are no text reaches the other process, too."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in _NOT_RUN.values():
        terminalreporter.write_line(reason, red=True, bold=True)
