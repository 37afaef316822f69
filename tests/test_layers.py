"""The shape of the package: who may import whom, what nobody may import, and that importing it costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import emo_core

PACKAGE = Path(emo_core.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# design.md: a layer imports those below it. Layers on one line do not import each other, but for _PAIRS.
LAYERS = [
    {"errors"},
    {"config", "files", "libraries"},
    {"installed", "whole", "lock", "fingerprint"},
    {"owned"},
    {"data", "channels"},
    {"audio", "face", "control", "models", "diffusion", "weights", "video"},
    {"pipeline"},
    {"cli_controls", "cli_progress"},
    {"training", "evaluation", "bench", "cli"},
    {"__main__", "__init__"},
]
_PAIRS = {
    ("weights", "models"),  # a file becomes a model
    ("weights", "audio"),  # a wav2vec2 folder becomes its encoder
    ("models", "audio"),  # the encoder is a part of EmoModel
    ("audio", "models"),  # which tokens a window has is written where they are made
    ("cli", "training"),  # a command calls them
    ("cli", "evaluation"),
    ("cli", "bench"),
    ("bench", "cli"),  # the demo's portrait
    ("evaluation", "training"),  # the ground truth is rendered there
    ("training", "evaluation"),  # training measures itself
}
FORBIDDEN = {
    "torchvision", "torchaudio", "mediapipe", "insightface", "xformers", "comfy", "comfy_api", "folder_paths", "nodes",
    "facenet_pytorch", "moviepy", "cv2", "tqdm",
}  # fmt: skip
TRAINING_ONLY = {"subprocess", "anny", "warp", "pocketsphinx", "accelerate", "numba"}


def area(path: Path) -> str:
    """The part of the package a file belongs to: a folder, or a module of the root."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def home(name: str) -> str:
    """Where something imported from the package itself comes from: a public name's module, or a module itself."""
    return emo_core._HOMES.get(name, name)


def level(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


def imports(path: Path) -> list[tuple[str, int]]:
    """(absolute module name, line) of every import of a file, also inside functions; `emo_core.x` for relative ones."""
    found = []
    here = ["emo_core", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"emo_core.{home(alias.name)}" for alias in node.names] if module == "emo_core" else [module]
            found += [(name, node.lineno) for name in names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_layers_import_downwards(path: Path) -> None:
    me = area(path)
    for name, line in imports(path):
        parts = name.split(".")
        if parts[0] != "emo_core" or len(parts) == 1 or parts[1] == me:
            continue
        other = parts[1]
        allowed = level(other) < level(me) or (me, other) in _PAIRS
        assert allowed, f"{path.name}:{line}: {me} may not import {other}"


def edges(root: Path, package: str) -> dict[str, set[str]]:
    """Which files of a package import which, by their paths in it: every import, also inside functions and for type
    checkers alone. A name that is imported from a folder is the file of that name where there is one, else the
    folder's own."""
    known = {module_of(path, root, package): str(path.relative_to(root)) for path in sorted(root.rglob("*.py"))}
    found: dict[str, set[str]] = {}
    for module, path in known.items():
        here = module.split(".") if path.endswith("__init__.py") else module.split(".")[:-1]
        found[path] = set()
        for node in ast.walk(ast.parse((root / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = here[: len(here) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                names = [inner if (inner := f"{base}.{alias.name}") in known else base for alias in node.names]
            else:
                continue
            found[path] |= {known[name] for name in names if name in known and known[name] != path}
    return found


def module_of(path: Path, root: Path, package: str) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)])


def circle(edges: dict[str, set[str]]) -> list[str]:
    """The files of one circle in order, the first again at the end; empty where there is none."""
    done: set[str] = set()

    def walk(path: str, way: list[str]) -> list[str]:
        if path in way:
            return [*way[way.index(path) :], path]
        if path in done:
            return []
        for other in sorted(edges.get(path, ())):
            if found := walk(other, [*way, path]):
                return found
        done.add(path)
        return []

    return next((found for path in sorted(edges) if (found := walk(path, []))), [])


@pytest.mark.parametrize("folder", ["emo_core", "nodes"])
def test_no_files_import_each_other_in_a_circle(folder: str) -> None:
    root = PACKAGE if folder == "emo_core" else PACKAGE.parent / folder
    found = edges(root, folder)
    assert sum(map(len, found.values())) > 10, "no imports were read"
    assert not circle(found), " -> ".join(circle(found))


def test_a_circle_is_seen_wherever_its_imports_stand(tmp_path: Path) -> None:
    files = {
        "__init__.py": "from .a import one\n",
        "a.py": "def one():\n    from .b import two\n",
        "b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .deep import c\n",
        "deep/__init__.py": "",
        "deep/c.py": "import made.a\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert circle(edges(tmp_path, "made")) == ["a.py", "b.py", "deep/c.py", "a.py"]
    (tmp_path / "b.py").write_text("")
    assert circle(edges(tmp_path, "made")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_forbidden_is_imported(path: Path) -> None:
    forbidden = FORBIDDEN - ({"tqdm"} if path.stem == "cli_progress" else set())
    forbidden |= set() if area(path) in ("training", "evaluation") else TRAINING_ONLY
    bad = [f"{path.name}:{line}: {name}" for name, line in imports(path) if name.split(".")[0] in forbidden]
    assert not bad


def test_every_public_name_is_found_and_is_what_type_checkers_see() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == emo_core._HOMES and sorted(typed) == emo_core.__all__
    for name in emo_core.__all__:
        assert getattr(emo_core, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such"):
        _ = emo_core.no_such  # type: ignore[attr-defined]


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "diffusers", "transformers", "librosa", "av", "PIL"]
    code = f"import sys, emo_core; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"
