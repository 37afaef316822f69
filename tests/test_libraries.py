"""Packages that are missing or broken: which one is named, what to do, and what works all the same."""

from __future__ import annotations

import ast
import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import emo_core
from emo_core import libraries
from emo_core.errors import EmoInputError
from emo_core.libraries import UnusableLibrary, importing

PACKAGE = Path(emo_core.__file__).parent
FOREIGN = {"diffusers", "transformers", "librosa", "onnxruntime", "soxr"}  # import others, or are not everywhere
FILES = [
    path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] not in ("training", "bench")
]
KINDS = ("ImportError", "OSError", "RuntimeError", "AttributeError", "SyntaxError")


class Site:
    """A folder of made-up packages, first on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, code: str, *, version: str = "", requires: str = "") -> None:
        """A package, and with a version what pip knows of it."""
        (self.folder / name).mkdir(parents=True)
        (self.folder / name / "__init__.py").write_text(code, encoding="utf-8")
        if version:
            info = self.folder / f"{name}-{version}.dist-info"
            info.mkdir()
            wanted = f"Requires-Dist: {requires}\n" if requires else ""
            about = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n{wanted}"
            (info / "METADATA").write_text(about, encoding="utf-8")
            (info / "RECORD").write_text(f"{name}/__init__.py,,\n", encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Packages asked for are `asked_one`, which passes on what others do wrong."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(libraries, "CARRIERS", {*libraries.CARRIERS, "asked_one"})
    monkeypatch.setattr(libraries, "ASKED_FOR", ("asked_one",))
    importlib.invalidate_caches()
    return Site(tmp_path)


def ask(name: str = "asked_one") -> UnusableLibrary:
    """What is raised by importing it."""
    with pytest.raises(UnusableLibrary) as raised, importing(name):
        importlib.import_module(name)
    assert isinstance(raised.value, EmoInputError)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    return raised.value


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_accelerator_is_named_and_may_go(site: Site, kind: str) -> None:
    site.add("asked_one", "import fast_one", version="1.0")
    site.add("fast_one", f"raise {kind}('built for another torch\\nand more')", version="0.0.28")
    for _ in range(2):
        said = str(ask())
        assert said.startswith("fast-one: found version 0.0.28, which fails when asked_one imports it"), said
        assert f"({kind}: built for another torch)" in said
        assert f'"{sys.executable}" -m pip uninstall fast-one' in said


def test_what_went_through_others_is_told_of_the_first_that_is_meant(site: Site) -> None:
    """Lazy packages wrap the error; what the broken one imports is fine."""
    site.add(
        "asked_one", "try:\n    import fast_one\nexcept Exception as e:\n    raise RuntimeError('see above') from e"
    )
    site.add("fast_one", "import json.decoder\nimport below_it", version="2")
    site.add("below_it", "raise OSError('undefined symbol')", version="3")
    said = str(ask())
    assert said.startswith("fast-one: found version 2") and "OSError: undefined symbol" in said


def test_what_is_needed_is_installed_anew_and_what_is_the_hosts_stays(site: Site) -> None:
    site.add("asked_one", "import needed_one", version="1.0", requires="needed.one (>=2)")
    site.add("needed_one", "raise OSError('cut off')", version="2.0")
    said = str(ask())
    assert "--force-reinstall --no-deps needed-one" in said and "uninstall" not in said


def test_torchvision_is_not_to_be_removed(site: Site) -> None:
    site.add("asked_one", "import torchvision")
    site.add("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')", version="99.0")
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torchvision"}
    for name in kept:
        del sys.modules[name]
    try:
        said = str(ask())
    finally:
        sys.modules.update(kept)
    assert said.startswith("torchvision: found version 99.0") and "https://pytorch.org" in said
    assert "uninstall" not in said


def test_a_package_that_is_not_there_is_to_be_installed(site: Site) -> None:
    said = str(ask("no_such_one"))
    assert said.startswith("no_such_one: found that no_such_one is not installed;")
    assert "-m pip install no_such_one" in said
    site.add("asked_one", "import no_such_one")
    assert "which asked_one imports" in str(ask())


def test_versions_that_do_not_go_together_are_told_in_their_own_words(site: Site) -> None:
    site.add("asked_one", "raise ImportError('tokenizers>=0.23 is required')", version="5.0")
    said = str(ask())
    assert said.startswith("asked-one: found version 5.0, which fails when it is imported (ImportError: tokenizers")


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "MemoryError"])
def test_what_is_no_fault_of_a_package_passes(site: Site, kind: str) -> None:
    site.add("asked_one", f"raise {kind}")
    with pytest.raises((KeyboardInterrupt, MemoryError)), importing("asked_one"):
        importlib.import_module("asked_one")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_packages_that_import_others_are_imported_late_and_in_their_place(path: Path) -> None:
    """In a function, within `with importing(...)`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        id(inner)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for block in ast.walk(function)
        if isinstance(block, ast.With) and "importing(" in ast.unparse(block.items[0])
        for inner in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        assert id(node) in guarded or not {name.partition(".")[0] for name in names} & FOREIGN, node.lineno


WITHOUT_A_NETWORK = """
import emo_core
from emo_core.face.image import read_image
import emo_core.config, emo_core.models.emo
import emo_core.models.parts, emo_core.pipeline.generate, emo_core.pipeline.decode, emo_core.weights.part
portrait = emo_core.prepare_portrait(read_image("emo_core/demo/portrait.jpg"), 128)
print("PORTRAIT", tuple(portrait.crop.shape))
for _ in range(2):
    try:
        emo_core.models.emo.EmoModel(emo_core.config.EMO_MINI_HEADS)  # whose VAE is diffusers'
    except emo_core.EmoInputError as error:
        print("SAID", error)
"""


@pytest.mark.parametrize(("name", "kind"), [("xformers", "ImportError"), ("bitsandbytes", "OSError")])
def test_with_diffusers_itself(tmp_path: Path, name: str, kind: str) -> None:
    """Everything that needs no network works; the rest says twice whose fault it is."""
    Site(tmp_path).add(name, f"raise {kind}('made for torch 2.4')", version="99.0.28")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_NETWORK],
        cwd=PACKAGE.parent, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith(("PORTRAIT", "SAID"))]
    assert lines[0] == "PORTRAIT (128, 128, 3)" and len(lines) == 3
    for line in lines[1:]:
        assert line.startswith(f"SAID {name}: found version 99.0.28, which fails when diffusers imports it ({kind}: ")
        assert f"pip uninstall {name}" in line
