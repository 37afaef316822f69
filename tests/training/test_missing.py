"""On a machine without flite, anny and the rest, every command names all that it lacks, and how to get it, in a
sentence and before anything is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emo_core.errors import EmoInputError
from emo_core.installed import require

ROOT = Path(__file__).parents[2]
PACKAGES = ("anny", "numba", "scipy", "pocketsphinx", "accelerate", "matplotlib", "psutil", "warp")
# In a process of its own: no program on the path, and packages that cannot be found, as on a bare machine.
BARE = f"""
import contextlib, io, json, sys
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {PACKAGES!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Bare())
from emo_core.cli import main
said = {{}}
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as text, contextlib.redirect_stdout(io.StringIO()):
        status = main(arguments)
    said[" ".join(arguments)] = [status, text.getvalue()]
print(json.dumps(said))
"""
COMMANDS = {
    "train voices": ["flite", "scipy"],
    "train heads": ["anny", "numba", "scipy"],
    "train puppets": ["numba", "scipy"],
    "train vae": ["accelerate"],
    "train pose": ["accelerate"],
    "train stage1": ["accelerate"],
    "train stage2": ["accelerate"],
    "train stage3": ["accelerate"],
    "evaluate": ["flite", "anny", "numba", "scipy"],
    "evaluate --controls": ["flite", "anny", "numba", "scipy"],
    "bench --soak 0.01": ["psutil", "matplotlib"],
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Exit status and stderr of every command, run where nothing is installed; and what it left behind."""
    folder = tmp_path_factory.mktemp("bare")
    outputs = {"train": "--root", "evaluate": "--output", "bench": "--output"}
    asked = [[*name.split(), outputs[name.split()[0]], f"out{i}"] for i, name in enumerate(COMMANDS)]
    environment = {**os.environ, "PATH": str(folder), "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
    environment |= {"HOME": str(folder), "LOCALAPPDATA": str(folder), "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(
        [sys.executable, "-c", BARE, json.dumps(asked)], cwd=folder, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    assert not list(folder.iterdir()), "something was made"
    return dict(zip(COMMANDS, json.loads(done.stdout.splitlines()[-1]).values(), strict=True))


@pytest.mark.parametrize("command", COMMANDS)
def test_all_that_is_missing_is_named_in_one_sentence(command: str, said: dict[str, tuple[int, str]]) -> None:
    status, text = said[command]
    assert status == 2 and len(text.splitlines()) == 1, text
    for name in COMMANDS[command]:
        assert f"no {'program' if name == 'flite' else 'package'} {name!r}" in text
    assert ("apt-get install flite" in text) == ("flite" in COMMANDS[command])
    assert "pip install " in text


def test_what_is_there_is_not_named() -> None:
    require("this", packages=("json", "pytest"))
    with pytest.raises(EmoInputError) as caught:
        require("this", programs=("no-such-program",), packages=("json", "no_such_package", "nor_this.one"))
    assert str(caught.value) == (
        "this: found no program 'no-such-program', no package 'no_such_package', no package 'nor_this.one'; expected"
        " all of them installed. Install with: apt-get install no-such-program; pip install no_such_package"
        " nor_this.one"
    )
    with pytest.raises(EmoInputError, match="expected it installed"):
        require("this", packages=("no_such_package",))


def test_an_input_error_of_one_of_several_processes_is_that_error() -> None:
    from emo_core.training.launch import launch

    with pytest.raises(EmoInputError, match="flite: found none; expected it installed"):
        launch(_refused, ("flite",), processes=2)


def _refused(name: str) -> None:
    raise EmoInputError(name, "none", "it installed")
