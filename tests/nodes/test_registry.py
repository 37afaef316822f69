"""What the ComfyUI registry is told of the pack."""

from __future__ import annotations

import re

import pytest
from described import ROOT
from PIL import Image

PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def value(key: str) -> str:
    """The string behind `key = ` of pyproject.toml, without a TOML library (Python 3.10 has none)."""
    found = re.findall(rf'^{key} = "(.+?)"', PROJECT, re.M)
    assert len(found) == 1, key
    return str(found[0])


def test_the_registry_learns_what_it_asks_for() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", value("version"))
    assert "comfyui" not in value("name").lower()
    assert value("requires-comfyui") == ">=0.3.75"
    assert value("Repository").startswith("https://") and value("PublisherId") and value("DisplayName")


@pytest.mark.parametrize("key", ["Icon", "Banner"])
def test_its_pictures_are_there_and_of_its_shape(key: str) -> None:
    address = value(key)
    path = ROOT / address.split("/main/")[1]
    with Image.open(path) as picture:
        width, height = picture.size
    if key == "Icon":
        assert width == height <= 400
    else:
        assert width * 9 == height * 21


def test_only_folders_of_the_root_stay_out_of_the_zip() -> None:
    """Without the slash, docs/ would take web/docs/ out as well."""
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns and all(pattern.startswith("/") for pattern in patterns)
    assert not [pattern for pattern in patterns if pattern.startswith(("/web", "/locales", "/nodes", "/workflows"))]
