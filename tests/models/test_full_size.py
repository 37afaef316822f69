"""Released weights fit the full-size network by name and shape; on the meta device, so nothing is allocated."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from emo_core.audio.encoder import AudioEncoder, wav2vec2_state
from emo_core.config import EMO_SD15, PRESETS, V_EXPRESS
from emo_core.models.emo import EmoModel, audio_projection
from emo_core.models.face_locator import FaceLocator
from emo_core.models.reference_net import ReferenceNet
from emo_core.models.unet import Backbone

MANIFESTS = Path(__file__).resolve().parents[1] / "fixtures" / "manifests"


def manifest(name):
    return json.loads(gzip.decompress((MANIFESTS / f"{name}.json.gz").read_bytes()))


def tensors(shapes):
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def on_meta(kind, *args):
    with torch.device("meta"):
        return kind(*args)


@pytest.fixture(scope="module")
def backbone():
    return on_meta(Backbone, EMO_SD15.unet)


def test_all_of_sd15_and_animatediff_loads_into_the_backbone(backbone):
    sd15, motion = manifest("sd15_unet"), manifest("v_express")["motion_module.bin"]
    assert (len(sd15), len(motion)) == (686, 588)
    missing, unexpected = backbone.load_state_dict(tensors({**sd15, **motion}), strict=False, assign=True)
    assert unexpected == []
    ours = {key.split("transformer_blocks.0.")[1].split(".")[0] for key in missing}
    assert ours == {"attn1_5", "norm1_5", "speed_attention", "speed_norm"}
    assert len(missing) == 16 * 7 + 21 * 6


def test_sd15_loads_into_reference_net():
    net = on_meta(ReferenceNet, EMO_SD15.unet)
    sd15 = manifest("sd15_unet")
    left = {key for key in sd15 if net.is_unread(key)}
    assert {key.split(".")[0] for key in left if "attn2" not in key} == {"conv_norm_out", "conv_out"}
    net.load_state_dict(tensors({k: v for k, v in sd15.items() if k not in left}), strict=True, assign=True)


def test_all_of_v_express_loads():
    files = manifest("v_express")
    backbone = on_meta(Backbone, V_EXPRESS.unet)
    both = {**files["denoising_unet.bin"], **files["motion_module.bin"]}
    backbone.load_state_dict(tensors(both), strict=True, assign=True)
    net = on_meta(ReferenceNet, V_EXPRESS.unet)
    read = {k: v for k, v in files["reference_net.bin"].items() if not net.is_unread(k)}
    net.load_state_dict(tensors(read), strict=True, assign=True)
    guider = on_meta(FaceLocator, V_EXPRESS.face_locator, 320)
    guider.load_state_dict(tensors(files["v_kps_guider.bin"]), strict=True, assign=True)
    projection = on_meta(audio_projection, V_EXPRESS)
    projection.load_state_dict(tensors(files["audio_projection.bin"]), strict=True, assign=True)


def test_all_of_wav2vec2_base_loads():
    encoder = on_meta(AudioEncoder, EMO_SD15.audio_encoder)
    shapes = manifest("wav2vec2_base")
    assert len(shapes) == 211
    encoder.load_state_dict(wav2vec2_state(tensors(shapes)), strict=True, assign=True)


def test_wrong_weights_do_not_load(backbone):
    """The tests above can fail: a missing or misshapen tensor is an error."""
    sd15 = tensors(manifest("sd15_unet"))
    with pytest.raises(RuntimeError, match="size mismatch"):
        backbone.load_state_dict({**sd15, "conv_in.weight": torch.empty(320, 5, 3, 3, device="meta")}, strict=False)
    sd15["conv_middle.weight"] = sd15.pop("conv_in.weight")
    missing, unexpected = backbone.load_state_dict(sd15, strict=False, assign=True)
    assert "conv_in.weight" in missing and unexpected == ["conv_middle.weight"]


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_builds(name):
    model = on_meta(EmoModel, PRESETS[name])
    assert (model.speed_layers is None) == (PRESETS[name].unet.speed is None)
    assert all(value.device.type == "meta" for value in model.state_dict().values())


def test_full_size_counts(backbone):
    """SD1.5's U-Net without its text attention's share is the skeleton: parameters as published."""
    sd15 = sum(torch.Size(shape).numel() for shape in manifest("sd15_unet").values())
    assert sd15 == 859_520_964
    ours = sum(p.numel() for p in backbone.parameters())
    extra = sum(p.numel() for k, p in backbone.named_parameters() if "_5." in k or "motion_modules" in k)
    assert ours - extra == sd15
