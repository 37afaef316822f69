"""Parts of models from disk: the same as in the whole model, out of one file or several, or out of a released one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from emo_core.config import TINY, AudioEncoderConfig
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.models.parts import PART_MODULES
from emo_core.weights.file import load_model, save_model
from emo_core.weights.part import _released, load_part

FIXTURES = Path(__file__).parents[1] / "fixtures" / "manifests"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(EmoModel(TINY), path, dtype=None)
    return path


@pytest.mark.parametrize("kind", PART_MODULES)
def test_a_part_is_what_the_whole_model_has(saved: Path, kind: str) -> None:
    whole, part = load_model(saved, device="cpu"), load_part(saved, kind, "emo")
    assert part.config == TINY and part.main is getattr(part, kind)
    expected = {name: value for name, value in whole.state_dict().items() if name.split(".")[0] in PART_MODULES[kind]}
    assert part.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in part.state_dict().items())
    assert not any(parameter.requires_grad for parameter in part.parameters()) and not part.training


def test_a_file_may_hold_one_part_alone(saved: Path, tmp_path: Path) -> None:
    part = load_part(saved, "vae", dtype=torch.float16)
    alone = tmp_path / "vae.safetensors"
    save_file(dict(part.named_parameters()), alone, metadata={"emo_config": TINY.to_json()})
    again = load_part(alone, "vae", dtype=torch.float16)
    assert all(torch.equal(a, b) for a, b in zip(part.parameters(), again.parameters(), strict=True))
    with pytest.raises(EmoInputError, match=r"vae.safetensors, which holds other parts of tiny"):
        load_part(alone, "backbone")


def test_another_family_is_refused(saved: Path) -> None:
    with pytest.raises(EmoInputError, match="family: found 'hallo'"):
        load_part(saved, "vae", "hallo")


SMALL = AudioEncoderConfig(
    conv_dim=(8,) * 7, hidden_size=16, layers=2, heads=2, intermediate_size=32, pos_conv_kernel=7, pos_conv_groups=4
)
HUB_CONFIG = {
    "model_type": "wav2vec2",
    "conv_dim": [8] * 7,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_conv_pos_embeddings": 7,
    "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "group",
    "do_stable_layer_norm": False,
}


def hub_folder(folder: Path, **changes: object) -> Path:
    """A wav2vec2 as transformers saves it."""
    from emo_core.audio.encoder import AudioEncoder

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**HUB_CONFIG, **changes}))
    torch.manual_seed(1)
    state = {f"wav2vec2.{name}": value.contiguous() for name, value in AudioEncoder(SMALL).state_dict().items()}
    save_file({**state, "lm_head.weight": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def test_a_wav2vec2_folder_is_an_audio_encoder(tmp_path: Path) -> None:
    part = load_part(hub_folder(tmp_path / "wav2vec2-mine"), "audio_encoder")
    assert part.config.audio_encoder == SMALL and part.config.name == "wav2vec2-mine"
    assert part.main(torch.zeros(1, 16000), frames=25).shape == (1, 25, 2, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [("bert", "of 'bert'"), ("json", "cannot be read"), ("weights", "without model.safetensors"), ("part", "wav2vec2")],
)
def test_other_folders_are_refused(tmp_path: Path, change: str, message: str) -> None:
    folder = hub_folder(tmp_path / "hub", **({"model_type": "bert"} if change == "bert" else {}))
    if change == "json":
        (folder / "config.json").write_text("{")
    if change == "weights":
        (folder / "model.safetensors").unlink()
    with pytest.raises(EmoInputError, match=message):
        load_part(folder, "backbone" if change == "part" else "audio_encoder")


def test_sd15s_unet_is_a_reference_net_and_nothing_else() -> None:
    shapes = json.loads(gzip.decompress((FIXTURES / "sd15_unet.json.gz").read_bytes()))
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    from emo_core.config import EMO_SD15

    read, config = _released(Path("unet.safetensors"), tensors, "reference_net", EMO_SD15)
    assert config is EMO_SD15 and "reference_net.conv_in.weight" in read
    assert "reference_net.conv_out.weight" not in read and not any(".attn2." in name for name in read)
    with pytest.raises(EmoInputError, match=r"looks like Stable Diffusion 1.5's U-Net; expected a file with the back"):
        _released(Path("unet.safetensors"), tensors, "backbone", EMO_SD15)
