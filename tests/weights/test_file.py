"""Models on disk: what is saved is what is loaded, and everything else gets one clear sentence."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from emo_core.config import EMO_MINI, PRESETS, TINY
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.pipeline.placement import dtype_of
from emo_core.weights import save as weights_save
from emo_core.weights.file import build_without_memory, load_model, save_model
from emo_core.weights.inspect import inspect
from emo_core.weights.part import load_part
from emo_core.weights.read import CONFIG_KEY

CPU = "cpu"


@pytest.fixture(scope="module")
def model() -> EmoModel:
    torch.manual_seed(0)
    return EmoModel(TINY).eval()


@pytest.fixture
def saved(model: EmoModel, tmp_path: Path) -> Path:
    return save_model(model, tmp_path / "tiny.safetensors", dtype=None)[0]


def rewrite(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file(tensors, path, metadata={CONFIG_KEY: TINY.to_json()})
    return path


def test_a_file_gives_the_same_model_back(model: EmoModel, saved: Path) -> None:
    loaded = load_model(saved, device=CPU)
    assert loaded.config == TINY and not loaded.training
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("fits", [True, False])
def test_float16_is_no_default_for_a_model_that_leaves_its_range(tmp_path: Path, fits: bool) -> None:
    """On a card the default is the file's type, and a model may be stored in float16 that has features beyond it."""
    model = EmoModel(dataclasses.replace(TINY, fits_float16=fits))
    path = save_model(model, tmp_path / "tiny.safetensors")[0]
    default, half = (torch.float16 if fits else torch.float32), torch.float16
    loaded = load_model(path, device=CPU, default_dtype=half)
    part = load_part(path, "backbone", default_dtype=half)
    assert dtype_of(loaded.backbone) == default and dtype_of(part) == default
    assert dtype_of(load_model(path, device=CPU, dtype=half).backbone) == half  # who asks for it gets it
    assert dtype_of(load_model(path, device=CPU, default_dtype=torch.bfloat16).backbone) == torch.bfloat16
    assert dtype_of(load_model(path, device=CPU).backbone) == torch.float32


def test_emo_mini_is_computed_in_float16_on_a_card_and_in_float32_elsewhere() -> None:
    model = load_model("emo-mini", device=CPU, default_dtype=torch.float16)  # as on a card
    assert model.config == EMO_MINI and dtype_of(model.reference_net) == torch.float16
    assert dtype_of(load_model("emo-mini", device=CPU).reference_net) == torch.float32


def test_a_folder_of_small_files_gives_the_same_model(
    model: EmoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_save, "PART_BYTES", 100_000)
    files = save_model(model, tmp_path / "tiny", dtype=None)
    assert {"vae.safetensors", "audio.safetensors", "network.safetensors", "network-2.safetensors"} <= {
        f.name for f in files
    }
    largest = max(p.numel() * 4 for p in model.parameters())
    assert all(f.stat().st_size < max(100_000, largest) + 20_000 for f in files)  # the rest is the header
    loaded = load_model(tmp_path / "tiny", device=CPU)
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in model.state_dict().items())


def test_saving_again_leaves_no_parts_of_before(
    model: EmoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_save, "PART_BYTES", 100_000)
    many = save_model(model, tmp_path / "tiny")
    monkeypatch.undo()
    few = save_model(model, tmp_path / "tiny", overwrite=True)
    assert len(few) < len(many) and sorted((tmp_path / "tiny").iterdir()) == sorted(few)


def test_half_precision_files_load_as_asked(model: EmoModel, tmp_path: Path) -> None:
    save_model(model, tmp_path / "half.safetensors")
    assert {t.dtype for t in load_file(tmp_path / "half.safetensors").values()} == {torch.float16}
    for asked, dtype in ((None, torch.float32), (torch.float16, torch.float16), (torch.bfloat16, torch.bfloat16)):
        loaded = load_model(tmp_path / "half.safetensors", device=CPU, dtype=asked)
        assert {p.dtype for p in loaded.parameters()} == {dtype}
        assert {b.dtype for b in loaded.buffers() if b.is_floating_point()} == {dtype}


def test_buffers_are_computed_not_stored(model: EmoModel, tmp_path: Path) -> None:
    save_model(model, tmp_path / "half.safetensors")
    names = [name for name, _ in model.named_buffers()]
    assert names and not set(names) & set(load_file(tmp_path / "half.safetensors"))
    loaded = dict(load_model(tmp_path / "half.safetensors", device=CPU).named_buffers())
    for name, value in model.named_buffers():
        assert torch.equal(value, loaded[name]), name


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_builds_without_memory(preset: str) -> None:
    """Also what layers begin with numbers of their own: gains, norms, learnt queries."""
    model = build_without_memory(PRESETS[preset])
    assert [name for name, p in model.named_parameters() if not p.is_meta] == []
    assert [name for name, b in model.named_buffers() if b.is_meta] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: {k: v for i, (k, v) in enumerate(t.items()) if i >= 7}, r"7 tensors missing: .* and 2 more"),
        (
            lambda t: t | {"backbone.surplus": torch.zeros(1)},
            r"1 tensor unknown: backbone\.surplus; .*Download it again",
        ),
        (
            lambda t: t | {"backbone.conv_in.weight": torch.zeros(1, 2)},
            r"of another shape: backbone\.conv_in\.weight \(1, 2\) instead of \(16, 4, 3, 3\)",
        ),
        (
            lambda t: t | {"backbone.conv_in.bias": torch.full((16,), torch.nan)},
            r"NaN .* in backbone\.conv_in\.bias;.*download it",
        ),
    ],
    ids=["missing", "extra", "shape", "nan"],
)
def test_tensors_that_do_not_fit_are_named(saved: Path, change, said: str) -> None:
    path = rewrite(saved, change(load_file(saved)))
    with pytest.raises(EmoInputError, match=said):
        load_model(path, device=CPU)


@pytest.mark.parametrize("text", ["{not json", '{"nonsense": 1}', '{"clip": {"size": "x"}}'])
def test_a_configuration_that_is_none_is_named_with_its_file(saved: Path, text: str) -> None:
    save_file(load_file(saved), saved, metadata={CONFIG_KEY: text})
    for look in (lambda: load_model(saved, device=CPU), lambda: inspect(saved)):
        with pytest.raises(EmoInputError, match=rf"emo_config.*, in {saved.name}; expected .*\. \w+.*\.$"):
            look()


def test_a_truncated_file_is_called_truncated(saved: Path) -> None:
    whole = saved.read_bytes()
    for keep in (len(whole) // 2, 100, 4):
        saved.write_bytes(whole[:keep])
        with pytest.raises(EmoInputError, match="truncated"):
            load_model(saved, device=CPU)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("page.safetensors", b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        ("page.pth", b"<html>404</html>", "web page"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "LFS pointer"),
        ("empty.safetensors", b"", "empty"),
        ("noise.safetensors", bytes(range(256)) * 8, "no safetensors file"),
        ("noise.pth", b"PK\x03\x04" + bytes(200), "truncated|damaged"),
        ("model.onnx", b"abc", "named model.onnx"),
    ],
)
def test_impostors_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EmoInputError, match=said):
        load_model(tmp_path / name, device=CPU)


class Opener:
    """Unpickling this would open a file for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    victim = tmp_path / "written"
    torch.save({"weight": torch.zeros(1), "x": Opener(victim)}, tmp_path / "zip.pth")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Opener(victim)))
    for name in ("zip.pth", "plain.pt"):
        with pytest.raises(EmoInputError, match="run code"):
            load_model(tmp_path / name, device=CPU)
    assert not victim.exists()


def test_a_state_dict_from_torch_save_loads_with_its_configuration(model: EmoModel, tmp_path: Path) -> None:
    wrapped = {"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "run.pth")
    loaded = load_model(tmp_path / "run.pth", device=CPU, config=TINY)
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in model.state_dict().items())


def test_a_file_without_configuration_is_described(tmp_path: Path) -> None:
    save_file(
        {"conv_in.weight": torch.zeros(1), "down_blocks.0.resnets.0.conv1.weight": torch.zeros(1)},
        tmp_path / "u.safetensors",
    )
    with pytest.raises(EmoInputError, match=r"no whole model of EMO's own form and looks like EchoMimic"):
        load_model(tmp_path / "u.safetensors", device=CPU)


def test_a_configuration_of_the_future_is_refused(saved: Path) -> None:
    text = TINY.to_json().replace('"heads": 2', '"heads": 2, "telepathy": true', 1)
    save_file(load_file(saved), saved, metadata={CONFIG_KEY: text})
    with pytest.raises(EmoInputError, match="telepathy"):
        load_model(saved, device=CPU)


def test_names_and_folders_that_hold_no_model(model: EmoModel, tmp_path: Path) -> None:
    with pytest.raises(EmoInputError, match="does not exist"):
        load_model("no-such-model")
    with pytest.raises(EmoInputError, match="without a"):
        load_model(tmp_path)
    save_model(model, tmp_path / "a.safetensors")
    save_model(model, tmp_path / "b.safetensors")
    with pytest.raises(EmoInputError, match="twice"):
        load_model(tmp_path)


def test_two_configurations_in_a_folder_are_refused(model: EmoModel, tmp_path: Path) -> None:
    files = save_model(model, tmp_path / "m")
    other = dataclasses.replace(TINY, name="other").to_json()
    save_file(load_file(files[0]), files[0], metadata={CONFIG_KEY: other})
    with pytest.raises(EmoInputError, match="different configurations"):
        load_model(tmp_path / "m")


def test_a_wrong_family_is_refused(saved: Path) -> None:
    with pytest.raises(EmoInputError, match="'emo'"):
        load_model(saved, "hallo")


def test_weights_that_half_precision_cannot_hold_are_not_saved(model: EmoModel, tmp_path: Path) -> None:
    with torch.no_grad():
        keep = model.backbone.conv_in.bias[0].item()
        model.backbone.conv_in.bias[0] = 1e6
    try:
        with pytest.raises(EmoInputError, match=r"backbone\.conv_in\.bias .*float16 cannot hold"):
            save_model(model, tmp_path / "m.safetensors")
    finally:
        with torch.no_grad():
            model.backbone.conv_in.bias[0] = keep
