"""Released weights fit the full-size network by name and shape; on the meta device, so nothing is allocated."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from emo_core.audio.encoder import AudioEncoder, wav2vec2_state
from emo_core.config import ECHOMIMIC, EMO_SD15, HALLO, PRESETS, V_EXPRESS
from emo_core.models.emo import EmoModel, audio_projection
from emo_core.models.face_locator import FaceLocator
from emo_core.models.reference_net import ReferenceNet
from emo_core.models.unet import Backbone
from emo_core.weights.released import drop_unread, named, released_config
from emo_core.weights.shapes import vae_of, wav2vec2_of

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


def land(tensors, config):
    """Released tensors (under our names) in the model of `config`, strictly; those never executed, by name."""
    unread = drop_unread(tensors, config)
    model = on_meta(EmoModel, config)
    own = model.state_dict()
    buffers = {name for name, _ in model.named_buffers()}
    parts = {name.split(".")[0] for name in tensors}
    missing = [k for k in own if k not in tensors and k not in buffers and k.split(".")[0] in parts]
    assert missing == [] and [k for k in tensors if k not in own] == []
    assert [k for k in tensors if tensors[k].shape != own[k].shape] == []
    return unread


def test_every_tensor_of_hallo_lands_or_is_named():
    shapes = manifest("hallo")
    assert len(shapes) == 2656
    ours = named("model", tensors(shapes))
    config = released_config(ours, HALLO)
    assert config == HALLO
    unread = land(ours, config)
    motion = [name for name in unread if ".motion_modules." in name]
    assert len(motion) == 140  # five modules of 28
    rest = {name.removeprefix("reference_net.") for name in unread if name not in motion}
    last = "up_blocks.3.attentions.2."
    assert all(name.startswith(last) for name in rest) and len(rest) == 20


def test_every_tensor_of_echomimic_lands():
    files = manifest("echomimic")
    ours = {}
    for part, file in (
        ("motion", "motion_module"),
        ("backbone", "denoising_unet"),
        ("reference_net", "reference_unet"),
    ):
        ours |= named(part, tensors(files[f"{file}.pth"]))
    ours |= named("face_locator", tensors(files["face_locator.pth"]))
    config = released_config(ours, ECHOMIMIC)
    assert config == ECHOMIMIC
    unread = land(ours, config)
    assert all(name.startswith("reference_net.up_blocks.3.attentions.2.") for name in unread)


def test_every_tensor_of_v_express_lands():
    files = manifest("v_express")
    parts = {"motion": "motion_module", "backbone": "denoising_unet", "reference_net": "reference_net"}
    parts |= {"face_locator": "v_kps_guider", "audio_projection": "audio_projection"}
    ours = {}
    for part, file in parts.items():
        ours |= named(part, tensors(files[f"{file}.bin"]))
    config = released_config(ours, V_EXPRESS)
    assert config == V_EXPRESS
    assert land(ours, config)


def test_the_vae_and_wav2vec2_imply_their_configurations():
    shapes = {k: tuple(v) for k, v in manifest("sd_vae").items()}
    assert len(shapes) == 248 and vae_of(shapes, EMO_SD15.vae) == EMO_SD15.vae
    state = wav2vec2_state(tensors(manifest("wav2vec2_base")))
    assert wav2vec2_of({k: v.shape for k, v in state.items()}, EMO_SD15.audio_encoder) == EMO_SD15.audio_encoder


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
