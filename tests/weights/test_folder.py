"""Model folders: what a list shows, what a name stands for, and what a missing one is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emo_core.weights.folder import file_identity, find_below, find_model, missing_model, model_names
from emo_core.weights.locate import bundled_models


def filled(folder: Path) -> Path:
    for name in (
        "b.safetensors",
        "a.pth",
        "notes.txt",
        "sub/c.safetensors",
        "many/1.safetensors",
        "many/2.safetensors",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    for name in ("wav2vec2/config.json", "wav2vec2/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_bundled_models_come_first_then_files_and_folders_that_are_a_model(tmp_path: Path) -> None:
    names = model_names([filled(tmp_path), tmp_path])
    assert names == [*bundled_models(), "a.pth", "b.safetensors", "many", "sub/c.safetensors", "wav2vec2"]


def test_folders_that_are_not_there_are_empty(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert model_names([]) == model_names([tmp_path / "none", file, tmp_path]) == bundled_models()


def test_a_name_stands_for_one_thing(tmp_path: Path) -> None:
    folder = filled(tmp_path / "models")
    for name in model_names([folder]):
        found = find_model(name, [tmp_path / "none", folder])
        assert found is not None and found.exists() and found.name == Path(name).name
    (tmp_path / "secret.safetensors").touch()
    for name in ("gone.safetensors", "../secret.safetensors", str(tmp_path / "secret.safetensors"), ""):
        assert find_model(name, [folder]) is None


def test_a_missing_model_says_where_it_belongs_and_where_it_is_published(tmp_path: Path) -> None:
    message = str(missing_model("sub/wav2vec2-base-960h", [tmp_path]))
    assert "sub/wav2vec2-base-960h" in message and str(tmp_path) in message and "https://huggingface.co/" in message
    pages = {"net.pth": "/hallo.", "denoising_unet_acc.pth": "/EchoMimic.", "denoising_unet.bin": "/V-Express."}
    assert all(page in str(missing_model(name, [tmp_path])) for name, page in pages.items())
    assert "Ask whoever gave you" in str(missing_model("mine.safetensors", []))


@pytest.mark.parametrize("what", ["a.pth", "many"])
def test_a_replaced_file_is_another(tmp_path: Path, what: str) -> None:
    folder = filled(tmp_path)
    before = file_identity(folder / what)
    assert file_identity(folder / what) == before
    changed = folder / ("many/2.safetensors" if what == "many" else what)
    os.utime(changed, ns=(1, 1))
    assert file_identity(folder / what) != before


def test_a_further_network_is_found_in_a_folder_or_below(tmp_path):
    deep = tmp_path / "models" / "a" / "b" / "c"
    deep.mkdir(parents=True)
    assert find_below("x.onnx", [tmp_path / "nowhere", tmp_path / "models"]) is None
    (deep / "x.onnx").touch()
    assert find_below("x.onnx", [tmp_path / "nowhere", tmp_path / "models"]) == deep / "x.onnx"
    assert find_below("x.onnx", [tmp_path]) is None  # a level too deep
    (tmp_path / "models" / "x.onnx").touch()
    assert find_below("x.onnx", [tmp_path / "models"]) == tmp_path / "models" / "x.onnx"
