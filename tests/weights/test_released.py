"""Released checkpoints: every form loads, whole, strictly and by keys alone; what does not fit gets one sentence."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import released_files as made
import torch

from emo_core.config import HALLO, V_EXPRESS
from emo_core.errors import EmoInputError
from emo_core.weights.file import load_model, save_model
from emo_core.weights.inspect import inspect, recognise
from emo_core.weights.released import gather
from emo_core.weights.spellings import unet_state, vae_state

MANIFESTS = Path(__file__).parent.parent / "fixtures" / "manifests"


@pytest.fixture(scope="module")
def hallo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hallo's folder of models; half precision, old names everywhere."""
    folder = tmp_path_factory.mktemp("hallo")
    made.hallo(folder, old_names=True)
    return folder


@pytest.fixture(scope="module")
def echomimic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("echomimic")
    made.echomimic(folder)
    return folder


def test_hallo_loads_from_its_folder_in_its_own_precision(hallo: Path) -> None:
    model = load_model(hallo, device="cpu", dtype=torch.float16)
    assert model.config.family == "hallo" and model.config.schedule == HALLO.schedule
    weights = made.drawn("hallo_step")
    site = "down_blocks.1.audio_modules.0.transformer_blocks.0.attn2_1.to_k.weight"
    stored = weights[f"denoising_unet.{site}"].half()
    assert torch.equal(model.backbone.state_dict()[site], stored)
    assert torch.equal(model.audio_projection.proj3.bias, weights["audioproj.proj3.bias"].half())
    assert torch.equal(model.reference_net.identity_projection.proj.weight, weights["imageproj.proj.weight"].half())
    assert {p.dtype for p in model.parameters()} == {torch.float16}


def test_hallo_is_found_from_its_file_and_converts_to_one_safetensors(hallo: Path, tmp_path: Path) -> None:
    model = load_model(hallo / "hallo" / "net.pth", device="cpu", dtype=torch.float16)
    (file,) = save_model(model, tmp_path / "converted.safetensors")
    again = load_model(file, device="cpu", dtype=torch.float16)
    assert again.config == model.config
    theirs = again.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in model.state_dict().items())


def test_echomimic_loads_and_its_accelerated_pair_by_name(echomimic: Path) -> None:
    plain = load_model(echomimic, device="cpu")
    fast = load_model(echomimic / "denoising_unet_acc.pth", device="cpu")
    assert plain.config.family == fast.config.family == "echomimic"
    assert (plain.config.clip.steps, fast.config.clip.steps, fast.config.guidance.scale) == (30, 6, 1.0)
    for name in ("conv_in.weight", "mid_block.motion_modules.0.temporal_transformer.proj_in.weight"):
        half = plain.backbone.state_dict()[name] * 0.5
        assert torch.allclose(half, fast.backbone.state_dict()[name], atol=1e-6)  # float16 rounds the smallest
    assert plain.audio_encoder.config.kind == "whisper" and plain.config.audio_encoder.layers == 4


def test_v_express_loads_and_says_its_licence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emo_core.weights.released._shown", set())  # it is said once in a process
    model = load_model(made.v_express(tmp_path), device="cpu")
    assert model.config.family == "v_express" and model.config.unet.reference_weight == V_EXPRESS.unet.reference_weight
    assert "non-commercial" in caplog.text


def test_a_missing_part_is_named_with_its_source(tmp_path: Path) -> None:
    path = made.save(made.drawn("hallo_step"), tmp_path / "models" / "hallo" / "net.pth", torch.float16)
    with pytest.raises(EmoInputError, match=r"without vae, wav2vec2.*sd-vae-ft-mse.*wav2vec2-base-960h"):
        load_model(path, device="cpu")
    assert "missing" in str(inspect(path)) and "vae" in str(inspect(path))


def test_a_missing_and_an_unknown_tensor_are_named(echomimic: Path, tmp_path: Path) -> None:
    for file in echomimic.rglob("*"):
        if file.is_file() and file.name != "reference_unet.pth":
            target = tmp_path / file.relative_to(echomimic)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file)
    weights = torch.load(echomimic / "reference_unet.pth", weights_only=True)
    weights["conv_middle.weight"] = weights.pop("conv_in.weight")
    torch.save(weights, tmp_path / "reference_unet.pth")
    with pytest.raises(EmoInputError, match=r"missing: reference_net.conv_in.weight.*unknown: reference_net.conv_mid"):
        load_model(tmp_path, device="cpu")


@pytest.mark.parametrize("spelling", ["present", "old attention", "original"])
def test_vae_in_every_spelling(spelling: str) -> None:
    present = made.vae()
    given = {"present": present, "old attention": made.vae(old_names=True), "original": made.original_vae(present)}
    named = vae_state(given[spelling])
    assert set(named) == set(present) and all(torch.equal(named[k], v) for k, v in present.items())


def test_sd15_inside_its_original_file_has_diffusers_names() -> None:
    """Names made by the inverse rules: every one of SD1.5's 686 comes back."""
    names = json.loads(gzip.decompress((MANIFESTS / "sd15_unet.json.gz").read_bytes()))
    original = {f"model.diffusion_model.{made.original_unet_name(name)}": torch.empty(0) for name in names}
    assert len(original) == 686
    assert set(unet_state(original)) == set(names)


def test_a_renamed_sdxl_checkpoint_is_called_that(tmp_path: Path) -> None:
    names = ["conditioner.embedders.1.model.logit_scale", "model.diffusion_model.label_emb.0.0.weight"]
    path = made.save({name: torch.zeros(1) for name in names}, tmp_path / "net.pth", torch.float16)
    with pytest.raises(EmoInputError, match="Stable Diffusion XL"):
        load_model(path, device="cpu")


def test_safetensors_renamed_to_pth_is_read_as_what_it_is(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"something": torch.zeros(2)}, tmp_path / "net.safetensors")
    (tmp_path / "net.safetensors").rename(tmp_path / "net.pth")
    assert inspect(tmp_path / "net.pth").kind.part == "unknown"


def test_nan_in_a_released_file_is_named(echomimic: Path, tmp_path: Path) -> None:
    weights = torch.load(echomimic / "face_locator.pth", weights_only=True)
    weights["conv_in.bias"][0] = float("nan")
    for file in echomimic.rglob("*"):
        if file.is_file() and file.name != "face_locator.pth":
            target = tmp_path / file.relative_to(echomimic)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file)
    torch.save(weights, tmp_path / "face_locator.pth")
    with pytest.raises(EmoInputError, match=r"NaN.*face_locator\.conv_in\.bias"):
        load_model(tmp_path, device="cpu")


def test_gather_leaves_other_files_alone(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pth")
    assert gather(tmp_path) is None
    assert recognise({"x": torch.zeros(1)}).part == "unknown"
