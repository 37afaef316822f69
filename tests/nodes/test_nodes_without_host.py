"""What the node pack does and promises where no ComfyUI is installed."""

from __future__ import annotations

import ast
import errno
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pack import ROOT, part

FILES = [ROOT / "__init__.py", *sorted((ROOT / "nodes").glob("*.py")), *sorted((ROOT / "emo_core").rglob("*.py"))]
FORBIDDEN = {"torchvision", "torchaudio", "folder_paths", "server", "aiohttp", "nodes", "execution", "main"}
STARTS_PROGRAMS = {"subprocess", "multiprocessing"}


def imported(tree: ast.AST) -> set[str]:
    """First names of all absolute imports, also inside functions."""
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_hosts_or_the_registry_refuse(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = imported(tree)
    assert not names & FORBIDDEN
    by_hand = ("training", "heads", "puppets", "voices", "bench")
    training = path.is_relative_to(ROOT / "emo_core") and path.parts[-2] in by_hand
    assert training or not names & STARTS_PROGRAMS
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name == "nodes"], ids=lambda path: path.name)
def test_the_host_is_behind_one_door(path: Path) -> None:
    """Nodes know the schema API; all else of the host is asked for in host.py."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert path.name == "host.py" or "comfy" not in imported(tree)


def test_the_pack_imports_without_a_host() -> None:
    pack = part()
    assert not hasattr(pack, "comfy_entrypoint") and callable(part("nodes").comfy_entrypoint)
    part("nodes.host")
    assert not [name for name in sys.modules if name == "comfy" or name.startswith(("comfy.", "comfy_api"))]


def test_previews_take_their_share_of_the_time() -> None:
    host = part("nodes.host")
    now = 0.0

    def make() -> torch.Tensor:
        nonlocal now
        now += 1.0
        return torch.zeros(1)

    pace = host.PreviewPace(0.1, lambda: now)
    made = 0
    for _ in range(100):
        made += pace.maybe(make) is not None
        now += 1.0
    assert made == pytest.approx(now * 0.1, abs=1.5)


def test_models_are_looked_for_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = part("nodes.host")
    monkeypatch.delenv("EMO_MODELS_DIR", raising=False)
    monkeypatch.delitem(sys.modules, "folder_paths", raising=False)
    assert host.model_folders() == []
    monkeypatch.setenv("EMO_MODELS_DIR", str(tmp_path))
    assert host.model_folders() == [tmp_path]


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("~nobody-of-this-name/x", ["{here}/~nobody-of-this-name/x"]),
        ("models", ["{here}/models"]),
        ("file", ["{here}/file"]),
        ("closed", ["{here}/closed"]),
        (f"models{os.pathsep}{os.pathsep} other ", ["{here}/models", "{here}/other"]),
        (f"with{os.pathsep}mark", ["{here}/with" + os.pathsep + "mark"]),
        ("models\udcff", ["{here}/models\udcff"]),
        ("x" * 5000, ["{here}/" + "x" * 5000]),
        ("  ", []),
    ],
)
def test_whatever_folder_is_named_the_lists_stand(
    named: str, found: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is no folder is told once, and no list of models fails for it."""
    host, folder = part("nodes.host"), part("emo_core.weights.folder")
    monkeypatch.delitem(sys.modules, "folder_paths", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("models", "closed", f"with{os.pathsep}mark"):
        (tmp_path / name).mkdir()
    (tmp_path / "models" / "mine.safetensors").write_bytes(b"")
    (tmp_path / "file").touch()
    (tmp_path / "closed").chmod(0)
    monkeypatch.setenv("EMO_MODELS_DIR", named)
    try:
        folders = host.model_folders()
        assert [str(each) for each in folders] == [each.format(here=tmp_path) for each in found]
        names = folder.model_names(folders)
        assert names[0] == "emo-mini" and ("mine.safetensors" in names) == (tmp_path / "models" in folders)
        assert folder.find_model("gone.safetensors", folders) is None
        assert "gone.safetensors" in str(folder.missing_model("gone.safetensors", folders))
        assert host.find_network("glintr100.onnx") is None
    finally:
        (tmp_path / "closed").chmod(0o755)


def test_a_folder_that_is_none_is_told_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = part("nodes.host")
    monkeypatch.delitem(sys.modules, "folder_paths", raising=False)
    monkeypatch.setenv("EMO_MODELS_DIR", str(tmp_path / "nowhere"))
    for _ in range(3):
        host.model_folders()
    assert caplog.text.count("EMO_MODELS_DIR names") == 1 and "nowhere" in caplog.text


def test_folders_of_extra_model_paths_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host, paths = part("nodes.host"), fake_folder_paths(tmp_path)
    monkeypatch.setitem(sys.modules, "folder_paths", paths)
    monkeypatch.delenv("EMO_MODELS_DIR", raising=False)
    paths.folder_names_and_paths["emo"] = (["/from/yaml"], set())
    for _ in range(2):
        assert host.model_folders() == [tmp_path / "emo", Path("/from/yaml")]
        assert paths.folder_names_and_paths["emo"][1] == {".safetensors"}


def fake_folder_paths(models: Path) -> Any:
    paths: Any = types.ModuleType("folder_paths")
    paths.models_dir, paths.supported_pt_extensions = str(models), {".safetensors"}
    paths.folder_names_and_paths = {}

    def add(name: str, folder: str, is_default: bool = False) -> None:
        known, extensions = paths.folder_names_and_paths.setdefault(name, ([], set()))
        if folder not in known:
            known.insert(0 if is_default else len(known), folder)
        paths.folder_names_and_paths[name] = (known, extensions)

    paths.add_model_folder_path = add
    paths.get_folder_paths = lambda name: list(paths.folder_names_and_paths[name][0])
    return paths


def test_an_output_folder_that_takes_nothing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host, paths = part("nodes.host"), types.ModuleType("folder_paths")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "video"))

    monkeypatch.setattr(paths, "get_output_directory", lambda: str(tmp_path), raising=False)
    monkeypatch.setattr(paths, "get_save_image_path", full, raising=False)
    monkeypatch.setitem(sys.modules, "folder_paths", paths)
    with pytest.raises(ValueError, match=r"output folder: found a full disk at .*; expected room\. Free some space"):
        host.output_folder("video/x", width=8, height=8)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(ValueError, match=r"output folder: found .*, which may not be written to.*--output-directory"):
        host.output_folder("video/x", width=8, height=8)


def test_outputs_are_numbered_after_all_that_are_there(tmp_path: Path) -> None:
    host = part("nodes.host")
    assert host.next_number(tmp_path, "emo") == 1
    (tmp_path / "emo_00003_.mp4").touch()
    (tmp_path / "emo_00007_.mp4.part").mkdir()
    (tmp_path / "emo_old.mp4").touch()
    (tmp_path / "emo2_00009_.mp4").touch()
    assert host.next_number(tmp_path, "emo") == 8
    (tmp_path / "EMO_00011_.mp4").touch()  # the same file, on a disk that does not tell cases apart
    for odd in ("emo_²_x.png", "emo_٣_x.png", "emo__.png", "emo_-5_.png"):
        (tmp_path / odd).touch()
    assert host.next_number(tmp_path, "emo") == 12


@pytest.mark.parametrize("name", ["[EMO] take", "a*b?", "Stück", "x_00005_", "{0}", "^$"])
def test_numbers_rise_whatever_the_name(tmp_path: Path, name: str) -> None:
    host = part("nodes.host")
    for number in (1, 2, 3):
        assert host.next_number(tmp_path, name) == number
        (tmp_path / f"{name}_{number:05}_.mp4").touch()


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (np.int64(2), 2),
        (np.float32(0.5), 0.5),
        (torch.tensor([3]), 3),
        (" 2 ", 2),
        ("18446744073709551615", 2**64 - 1),
        ("2.5e1", 25.0),
        ("1_000", None),
        ("1,5", None),
        ("", None),
        (True, None),
        (np.bool_(True), None),
        (np.array([1.0, 2.0]), None),
        (torch.zeros(1, device="meta"), None),
        (10**400, None),
        (None, None),
    ],
    ids=repr,
)
def test_a_number_is_one_whatever_holds_it(value: Any, number: int | float | None) -> None:
    found = part("nodes.values").number_of(value)
    assert found == number and type(found) is type(number)


class FakeVAE:
    """As much of core's VAE as is used: pictures (b, H, W, 3) in 0..1 to unscaled latents and back."""

    latent_channels, downscale_ratio, latent_dim = 4, 8, 2

    def __init__(self) -> None:
        self.first_stage_model = torch.nn.Linear(2, 2)

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        small = pictures.movedim(-1, 1)[:, :, ::8, ::8]
        return torch.cat([small, small[:, :1]], dim=1)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3).movedim(1, -1)


def test_cores_vae_stands_in_where_it_fits() -> None:
    vae, config = part("nodes.vae"), part("emo_core.config")
    chosen = vae.vae_of(FakeVAE(), config.EMO_SD15)
    assert chosen.patchers == [] and chosen.config.downscale == 8
    pictures = torch.rand(2, 3, 16, 16).repeat_interleave(8, 2).repeat_interleave(8, 3) * 2 - 1
    latents = chosen.network.encode(pictures)
    assert latents.shape == (2, 4, 16, 16)
    torch.testing.assert_close(latents[:, :3], (pictures[:, :, ::8, ::8] + 1) / 2 * 0.18215)
    torch.testing.assert_close(chosen.network.decode(latents), pictures)
    assert chosen.network.detail(pictures[:1]) is None
    torch.testing.assert_close(chosen.network.decode(latents, None), pictures)


def test_what_decoding_takes_grows_with_the_size_where_the_vae_reads_the_portrait() -> None:
    """Against what is counted without memory: enough, and not twice as much."""
    vae, config = part("nodes.vae"), part("emo_core.config").EMO_MINI.vae
    memory, VAE = part("emo_core.pipeline.memory"), part("emo_core.models.vae").VAE
    network = VAE(config).to("meta").requires_grad_(False)
    told = {}
    for size in (256, 512, 1024):
        detail = network.detail(torch.empty(1, 3, size, size, device="meta"))
        latents = detail.latent.expand(8, -1, -1, -1)
        needed = memory.peak_bytes(lambda detail=detail, latents=latents: network.decode(latents, detail))
        told[size] = vae.vae_bytes(config, side=size, frames=8, bytes_each=4)
        assert needed < told[size] < 2 * needed
    assert told[256] < told[512] < told[1024] / 2


def test_cores_vae_is_refused_where_it_does_not_fit() -> None:
    vae, config = part("nodes.vae"), part("emo_core.config")
    error = part("emo_core.errors").EmoInputError
    with pytest.raises(error, match="the VAE of emo-mini"):
        vae.vae_of(FakeVAE(), config.EMO_MINI_HEADS)
    flux = FakeVAE()
    flux.latent_channels = 16  # type: ignore[misc]
    with pytest.raises(error, match="16 channels"):
        vae.vae_of(flux, config.EMO_SD15)
    video = FakeVAE()
    video.downscale_ratio = (lambda frames: frames, 8, 8)  # type: ignore[assignment]
    with pytest.raises(error, match="a VAE for pictures"):
        vae.vae_of(video, config.EMO_SD15)


def host_that_writes_metadata(monkeypatch: pytest.MonkeyPatch) -> Any:
    """nodes.host with as much of comfy as it asks for there."""
    arguments: Any = types.ModuleType("comfy.cli_args")
    arguments.args = types.SimpleNamespace(disable_metadata=False)
    monkeypatch.setitem(sys.modules, "comfy", types.ModuleType("comfy"))
    monkeypatch.setitem(sys.modules, "comfy.cli_args", arguments)
    return part("nodes.host")


def test_the_workflow_is_written_as_core_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: Any = types.ModuleType("comfy.cli_args")
    arguments.args = types.SimpleNamespace(disable_metadata=False)
    comfy: Any = types.ModuleType("comfy")
    monkeypatch.setitem(sys.modules, "comfy", comfy)
    monkeypatch.setitem(sys.modules, "comfy.cli_args", arguments)
    host = part("nodes.host")
    hidden = types.SimpleNamespace(prompt={"1": {}}, extra_pnginfo={"workflow": {"nodes": []}})
    metadata = {name: json.loads(value) for name, value in host.workflow_metadata(hidden).items()}
    assert metadata == {"workflow": {"nodes": []}, "prompt": {"1": {}}}
    assert host.workflow_metadata(types.SimpleNamespace(prompt=None, extra_pnginfo=None)) == {}
    arguments.args.disable_metadata = True
    assert host.workflow_metadata(hidden) == {}


class Wordless:
    def __repr__(self) -> str:
        raise OSError("gone")


@pytest.mark.parametrize("extra", [["workflow"], "workflow", 5, np.zeros(3)], ids=repr)
def test_what_is_no_workflow_is_left_out_and_told(
    extra: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = host_that_writes_metadata(monkeypatch)
    hidden = types.SimpleNamespace(prompt={"1": {}}, extra_pnginfo=extra)
    assert host.workflow_metadata(hidden) == {"prompt": '{"1": {}}'}
    assert f"extra_pnginfo, of type {type(extra).__name__}, is not written into the video" in caplog.text


def test_what_is_no_json_is_left_out_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = host_that_writes_metadata(monkeypatch)
    deep: list[Any] = []
    for _ in range(3000):
        deep = [deep]
    circle: dict[str, Any] = {}
    circle["self"] = circle
    extra = {"workflow": {"nodes": []}, "deep": deep, "circle": circle, "odd": {"a": Wordless()}, "\ud800": 1}
    written = host.workflow_metadata(types.SimpleNamespace(prompt={"1": deep}, extra_pnginfo=extra))
    assert {name: json.loads(text) for name, text in written.items()} == {"workflow": {"nodes": []}}
    for name in ("'deep'", "'circle'", "'odd'", r"'\ud800'", "'prompt'"):
        assert f"{name} is not written into the video (" in caplog.text


def strictly(text: str) -> Any:
    """JSON as a browser reads it: without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def brace_counted(text: str) -> str:
    """As the frontend finds the end of what it reads from a webm."""
    depth, end = 1, 1
    while depth and end < len(text):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    assert depth == 0
    return text[:end]


def test_the_workflow_is_json_that_a_browser_reads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host writes NaN into the prompt for every node that asks to be run each time."""
    host = host_that_writes_metadata(monkeypatch)
    texts = {"note": 'so } it { goes }} "{" \\', "\ud83d": "a \ud800 b \0 c 肖像", "line": "one\ntwo\u2028three"}
    nan, inf = float("nan"), float("inf")
    prompt = {"1": {"inputs": texts, "is_changed": [nan, (inf, -inf), {"deep": [nan]}], "other": 0.1}}
    hidden = types.SimpleNamespace(prompt=prompt, extra_pnginfo={"workflow": texts, "odd": {"a": Path("x"), (1, 2): 3}})
    written = host.workflow_metadata(hidden)
    read = {name: strictly(brace_counted(text)) for name, text in written.items()}
    assert read["workflow"] == texts and read["odd"] == {"a": "x"}
    told = [None, [None, None], {"deep": [None]}]
    assert read["prompt"] == {"1": {"inputs": texts, "is_changed": told, "other": 0.1}}
    assert all(text.isascii() and "\0" not in text for text in written.values())
