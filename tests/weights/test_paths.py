"""Paths as users and workflows give them: whatever lies there or not, a name is found, or there is one sentence."""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from emo_core.errors import EmoInputError
from emo_core.weights.convert import convert
from emo_core.weights.file import load_model, resolve
from emo_core.weights.folder import file_identity, find_below, find_model, missing_model, model_names
from emo_core.weights.inspect import inspect
from emo_core.weights.locate import bundled_models, safetensors_in, walk, weight_files
from emo_core.weights.part import load_part

DOORS: dict[str, Callable[[Any], object]] = {
    "resolve": resolve,
    "inspect": inspect,
    "load_model": lambda path: load_model(path, device="cpu"),
    "load_part": lambda path: load_part(path, "vae"),
    "convert": lambda path: convert(path, Path("never-written.safetensors")),
}
needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")


def refused(path: Any, said: str, *, doors: tuple[str, ...] = tuple(DOORS)) -> None:
    for name in doors:
        with pytest.raises(EmoInputError, match=said) as caught:
            DOORS[name](path)
        assert len(str(caught.value)) < 1000 and "\n" not in str(caught.value), name
    assert not Path("never-written.safetensors").exists()


READERS = tuple(DOORS)[1:]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 300 + ".safetensors", "cannot be looked up|does not exist"),
        ("x" * 100_000, "cannot be looked up|does not exist"),
        ("~nobody-of-this-name/x", "does not exist"),
        ("a\0b", "cannot be looked up|does not exist"),
        ("", "no name"),
        (" ", "no name"),
        ("\udcff\udcfe.safetensors", "does not exist"),
        ("https://huggingface.co/x/y", "does not exist"),
        ("*", "does not exist"),
    ],
)
def test_names_that_are_no_path(name: str, said: str) -> None:
    refused(name, said)
    refused(Path(name), said) if name else None
    assert find_model(name, [Path.cwd(), Path(name)]) is None
    assert find_below(name, [Path.cwd(), Path(name)]) is None
    assert file_identity(Path(name)) == file_identity(Path("gone")) or not name
    assert len(str(missing_model(name, []))) < 1000


def test_a_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save_file({"x": torch.zeros(1)}, tmp_path / "m.safetensors")
    assert inspect("~/m.safetensors").tensors == 1


def test_links_to_nothing_and_to_themselves(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").symlink_to("nowhere")
    (tmp_path / "loop.safetensors").symlink_to("loop.safetensors")
    refused(tmp_path / "broken.safetensors", "a link to what does not exist")
    refused(tmp_path / "loop.safetensors", "cannot be looked up")
    refused(tmp_path / "broken.safetensors" / "x.safetensors", "does not exist")
    refused(tmp_path, r"cannot be opened|no file at|without a \.safetensors|passed over|make no model", doors=READERS)
    assert model_names([tmp_path]) == bundled_models()


@needs_pipes
def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("m.safetensors", "net.pth", "config.json", "deep/vae.safetensors"):
        os.mkfifo(tmp_path / name)
    for path in (tmp_path / "m.safetensors", tmp_path / "net.pth", *([Path("/dev/zero")] * Path("/dev/zero").exists())):
        refused(path, "a pipe or a device")
    refused(tmp_path, "a pipe or a device|make no model|holds no", doors=READERS)
    (tmp_path / "config.json").unlink()
    refused(tmp_path, "a pipe or a device|make no model", doors=READERS)
    assert model_names([tmp_path]) == bundled_models() and find_below("net.pth", [tmp_path]) is None
    save_file({"x": torch.zeros(1)}, tmp_path / "deep" / "good.safetensors")
    assert inspect(tmp_path / "deep" / "good.safetensors").tensors == 1  # its neighbours are looked at, not opened


def test_folders_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system answers; permissions themselves stop no superuser, who runs some of these tests."""
    (tmp_path / "locked").mkdir()
    save_file({"x": torch.zeros(1)}, tmp_path / "m.safetensors")

    def denied(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", denied)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")
    refused(tmp_path / "locked", "may not be read")
    assert model_names([tmp_path / "locked", tmp_path]) == [*bundled_models(), "m.safetensors"]
    assert find_below("m.safetensors", [tmp_path / "locked", tmp_path]) == tmp_path / "m.safetensors"


@pytest.mark.parametrize("name", [None, 3, 2.5, True, ["m"], {"a": 1}])
def test_a_workflow_may_name_anything(name: Any, tmp_path: Path) -> None:
    assert find_model(name, [tmp_path]) is None
    assert "expected a model that is there" in str(missing_model(name, [tmp_path]))


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "//server/x"])
def test_names_do_not_lead_out_of_the_folders(name: str, tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    (tmp_path / "models" / "a").mkdir(parents=True)
    assert find_model(name, [tmp_path / "models"]) is None


# --- linked folders


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Models elsewhere, linked into the folder of models: a folder of them, one that is a model, a file; and loops."""
    store, models = tmp_path / "store", tmp_path / "models"
    for name in ("all/a.safetensors", "all/deep/b.pth", "one/vae.safetensors", "one/network.safetensors", "c.ckpt"):
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(name.encode())
    (models / "own").mkdir(parents=True)
    (models / "own" / "d.bin").touch()
    for name in ("all", "one", "c.ckpt"):
        (models / name).symlink_to(store / name)
    (models / "own" / "up").symlink_to(models)
    (models / "itself").symlink_to("itself")
    (models / "gone").symlink_to(tmp_path / "gone")
    (store / "all" / "back").symlink_to(store)
    return models


def test_linked_folders_are_listed_and_found(linked: Path) -> None:
    names = model_names([linked])
    assert names[0] == "emo-mini" and len(names) == len(set(names))
    assert {"all/a.safetensors", "all/deep/b.pth", "one", "c.ckpt", "own/d.bin"} <= set(names)
    for name in names:
        found = find_model(name, [linked])
        assert found is not None and found.exists()
    assert find_below("b.pth", [linked]) == linked / "all" / "deep" / "b.pth"
    assert find_below("c.ckpt", [linked]) == linked / "c.ckpt"
    assert {file.name for file in weight_files(linked)} >= {"a.safetensors", "b.pth", "c.ckpt", "d.bin"}
    assert [file.name for file in safetensors_in(linked / "one")] == ["network.safetensors", "vae.safetensors"]


def test_a_folder_that_was_linked_twice_is_listed_under_both_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "m.safetensors").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert model_names([tmp_path]) == [*bundled_models(), "link/m.safetensors", "real/m.safetensors"]


def test_a_change_behind_a_link_is_noticed(linked: Path) -> None:
    for folder, name in (("one", "vae.safetensors"), ("all", "deep/b.pth")):
        before = file_identity(linked / folder)
        os.utime(linked / folder / name, ns=(1, 1))
        assert file_identity(linked / folder) != before


def test_folders_that_all_link_to_each_other_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emo_core.weights.locate.MAX_FOLDERS", 500)
    names = [f"f{number}" for number in range(9)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.safetensors").touch()
    for one in names:
        for other in names:
            (tmp_path / one / f"to-{other}").symlink_to(tmp_path / other)
    listed = model_names([tmp_path])
    assert {f"{name}/m.safetensors" for name in names} <= set(listed) and len(listed) <= 501
    assert sum(1 for _ in walk(tmp_path)) <= 500


# --- files that lie

HEADER_LIES: dict[str, Any] = {
    "size": b"\xff" * 8 + b"{}",
    "large": struct.pack("<Q", 90_000_000) + b'{"a":{}}',
    "beyond": {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}},
    "before": {"a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}},
    "negative": {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}},
    "overlap": {n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in "ab"},
    "shape": {"a": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 8]}},
    "none": {"a": {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}},
    "type": {"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}},
    "metadata": {"__metadata__": {"emo_config": {"a": 1}}, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
    "deep": b"[" * 5000,
    "list": b"[]",
    "text": b"\xff\xfe\xfd{",
}


@pytest.mark.parametrize("lie", HEADER_LIES)
def test_safetensors_that_lie(lie: str, tmp_path: Path) -> None:
    said = HEADER_LIES[lie]
    if not isinstance(said, bytes):
        said = json.dumps(said).encode()
    if lie not in ("size", "large"):
        said = struct.pack("<Q", len(said)) + said + bytes(8)
    (tmp_path / "m.safetensors").write_bytes(said)
    (tmp_path / "m.pth").write_bytes(said)
    for name in ("m.safetensors", "m.pth"):
        refused(tmp_path / name, "truncated or no|holds no tensors", doors=READERS)


def test_a_tensor_called_by_a_novel(tmp_path: Path) -> None:
    save_file({"x" * 10_000 + "\n" + str(i): torch.full((1,), torch.nan) for i in range(9)}, tmp_path / "m.safetensors")
    refused(tmp_path / "m.safetensors", "no whole model", doors=("load_model",))
    refused(tmp_path / "m.safetensors", "NaN .* and 4 more", doors=("load_part",))


class Made:
    """Pickled as a call of something that torch's reader allows."""

    def __init__(self, call: Callable, *arguments: object) -> None:
        self.call = call, arguments

    def __reduce__(self) -> Any:
        return self.call


def expanded() -> torch.Tensor:
    """A million rows that are the same number."""
    return torch.zeros(1).expand(50_000, 1_000_000)


PICKLES: dict[str, Callable[[], object]] = {
    "expanded": lambda: {"backbone.x": expanded()},
    "meta": lambda: {"backbone.x": torch.empty(3, device="meta")},
    "sparse": lambda: {"backbone.x": torch.eye(3).to_sparse()},
    "quantised": lambda: {"backbone.x": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
    "complex": lambda: {"backbone.x": torch.zeros(3, dtype=torch.complex64)},
    "bytes": lambda: {"x": Made(bytearray, 8 * 2**30)},
    "storage": lambda: {"backbone.x": Made(torch.FloatTensor, 300_000, 300_000)},
    "list": lambda: [torch.zeros(3)],
    "tensor": lambda: torch.zeros(3),
    "number": lambda: 3,
    "nothing": lambda: {},
    "of no names": lambda: {(1, 2): torch.zeros(1), None: torch.zeros(1)},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("kind", PICKLES)
def test_pickles_that_ask_for_too_much_or_hold_something_else(kind: str, form: str, tmp_path: Path) -> None:
    try:
        torch.save(PICKLES[kind](), tmp_path / "m.pt", _use_new_zipfile_serialization=form == "zip")
    except (RuntimeError, NotImplementedError, pickle.PicklingError):
        pytest.skip("torch does not write this")
    assert (tmp_path / "m.pt").stat().st_size < 100_000
    before = peak_bytes()
    refused(tmp_path / "m.pt", "model: found m.pt", doors=READERS)
    assert peak_bytes() - before < 500e6


def peak_bytes() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_an_archive_that_is_packed_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(3 * 10**8))
        archive.writestr("archive/version", "3")
    assert (tmp_path / "m.pth").stat().st_size < 10**6
    refused(tmp_path / "m.pth", "more than it has bytes", doors=READERS)


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    from emo_core.config import TINY
    from emo_core.models.emo import EmoModel
    from emo_core.weights.read import CONFIG_KEY

    tensors = {name: value.detach().contiguous() for name, value in EmoModel(TINY).named_parameters()}
    tensors["backbone.conv_in.bias"] = torch.zeros(16, dtype=torch.int32)
    save_file(tensors, tmp_path / "m.safetensors", metadata={CONFIG_KEY: TINY.to_json()})
    with pytest.raises(EmoInputError, match=r"1 tensor of another type: backbone\.conv_in\.bias \(int32\)"):
        load_model(tmp_path / "m.safetensors", device="cpu")
