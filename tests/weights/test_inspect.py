"""Recognising checkpoints: the released ones by their own keys (fixtures: one block of each), and ours."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from emo_core.config import TINY
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.weights.file import save_model
from emo_core.weights.inspect import inspect, recognise

HEADS = Path(__file__).parent.parent / "fixtures" / "manifests" / "released_heads.json.gz"
RELEASED = json.loads(gzip.decompress(HEADS.read_bytes()))
EXPECTED = {
    "hallo/net.pth": ("hallo", "model"),
    "sd15/unet": (None, "backbone"),
    "sd-vae": (None, "vae"),
    "wav2vec2-base": (None, "audio_encoder"),
    "echomimic/reference_unet.pth": ("echomimic", "reference_net"),
    "echomimic/denoising_unet.pth": ("echomimic", "backbone"),
    "echomimic/motion_module.pth": (None, "motion"),
    "echomimic/face_locator.pth": (None, "face_locator"),
    "echomimic/face_locator_pose.pth": (None, "face_locator"),
    "v-express/denoising_unet.bin": ("v_express", "backbone"),
    "v-express/motion_module.bin": (None, "motion"),
    "v-express/reference_net.bin": ("v_express", "reference_net"),
    "v-express/v_kps_guider.bin": (None, "face_locator"),
    "v-express/audio_projection.bin": ("v_express", "audio_projection"),
}


def test_every_released_file_is_expected() -> None:
    assert set(RELEASED) == set(EXPECTED)


@pytest.mark.parametrize("file", EXPECTED)
def test_released_checkpoints_are_recognised_by_their_keys(file: str) -> None:
    tensors = {name: torch.empty(shape, device="meta") for name, shape in RELEASED[file].items()}
    kind = recognise(tensors)
    assert (kind.family, kind.part) == EXPECTED[file], kind.description


def test_our_own_model_is_reported_with_its_configuration(tmp_path: Path) -> None:
    model = EmoModel(TINY)
    save_model(model, tmp_path / "m.safetensors")
    report = inspect(tmp_path / "m.safetensors")
    assert report.config == TINY and (report.kind.family, report.kind.part) == ("emo", "model")
    assert report.parameters == sum(p.numel() for p in model.parameters())
    assert report.parts["backbone"] == sum(p.numel() for p in model.backbone.parameters())
    assert set(report.dtypes) == {"float16"}
    for said in ("family      emo (tiny)", f"{report.parameters:,} parameters", "reference_net"):
        assert said in str(report)


def test_a_folder_is_reported_as_one_model(tmp_path: Path) -> None:
    model = EmoModel(TINY)
    files = save_model(model, tmp_path / "m")
    report = inspect(tmp_path / "m")
    assert report.kind.part == "model" and report.config == TINY
    assert report.bytes == sum(f.stat().st_size for f in files)


def test_unknown_tensors_are_called_unknown(tmp_path: Path) -> None:
    save_file({"something": torch.zeros(3, dtype=torch.bfloat16)}, tmp_path / "x.safetensors")
    report = inspect(tmp_path / "x.safetensors")
    assert report.kind.part == "unknown" and report.dtypes == {"bfloat16": 3}


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.safetensors").write_text("<!DOCTYPE html><html>Sign in</html>")
    with pytest.raises(EmoInputError, match="web page"):
        inspect(tmp_path / "page.safetensors")
