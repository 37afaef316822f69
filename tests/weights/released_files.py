"""Small checkpoints in the forms in which the systems are released: same names, same files, drawn weights."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import torch
from golden.weights import regenerate
from torch import Tensor

from emo_core.audio import AudioEncoder, WhisperEncoder
from emo_core.config import AudioEncoderConfig

PARITY = Path(__file__).parent.parent / "fixtures" / "parity"
WAV2VEC = AudioEncoderConfig(
    conv_dim=(16,) * 7, hidden_size=16, layers=12, heads=4, intermediate_size=32, pos_conv_kernel=16, pos_conv_groups=4
)
WHISPER = AudioEncoderConfig(kind="whisper", hidden_size=24, layers=4, heads=6, intermediate_size=48)


def drawn(folder: str) -> dict[str, Tensor]:
    return regenerate(json.loads((PARITY / folder / "weights_manifest.json").read_text()), 0)


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v.clone() for k, v in tensors.items() if k.startswith(prefix)}


def save(tensors: dict[str, Tensor], path: Path, dtype: torch.dtype) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({k: v.to(dtype) for k, v in tensors.items()}, path)
    return path


def vae(old_names: bool = False) -> dict[str, Tensor]:
    tensors = regenerate(json.loads((PARITY / "hallo_two_clips" / "vae_manifest.json").read_text()), 3)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    if old_names:
        for new, before in old.items():
            tensors = {
                k.replace(f".{new}.", f".{before}.") if ".attentions." in k else k: v for k, v in tensors.items()
            }
    return tensors


def original_vae(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under the names of Stable Diffusion's own checkpoints."""
    rules = (
        (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
        (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
        (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
        (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
        (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
        (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
        (r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}"),
        (r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample"),
        (r"conv_shortcut", "nin_shortcut"),
        (r"conv_norm_out", "norm_out"),
    )
    out = {}
    for name, value in tensors.items():
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        is_matrix = ".attn_1." in new and value.ndim == 2
        out[f"first_stage_model.{new}"] = value[:, :, None, None] if is_matrix else value
    return out


def original_unet_name(name: str) -> str:
    """SD1.5's original name of diffusers' `name`."""
    head, _, rest = name.partition(".")
    ends = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
    if head in ends:
        return f"{ends[head]}.{rest}"
    if head == "time_embedding":
        return rest.replace("linear_1", "time_embed.0").replace("linear_2", "time_embed.2")
    inner = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0"}
    inner |= {"conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
    parts = name.split(".")
    if "resnets" in parts:
        at = parts.index("resnets")
        parts[at + 2] = inner[parts[at + 2]]
    if head == "mid_block":
        place = {"resnets": f"middle_block.{int(parts[2]) * 2}", "attentions": "middle_block.1"}[parts[1]]
        return ".".join([place, *parts[3:]])
    level, kind, layer = int(parts[1]), parts[2], int(parts[3])
    if head == "down_blocks":
        if kind == "downsamplers":
            return ".".join([f"input_blocks.{level * 3 + 3}.0.op", *parts[5:]])
        return ".".join([f"input_blocks.{level * 3 + 1 + layer}.{int(kind == 'attentions')}", *parts[4:]])
    if kind == "upsamplers":
        return ".".join([f"output_blocks.{level * 3 + 2}.{1 if level == 0 else 2}", *parts[4:]])
    return ".".join([f"output_blocks.{level * 3 + layer}.{int(kind == 'attentions')}", *parts[4:]])


def wav2vec(old_names: bool = False, width: int = 16) -> dict[str, Tensor]:
    """As Wav2Vec2ForCTC's file; `old_names`: the weight norm's older spelling."""
    torch.manual_seed(0)
    encoder = AudioEncoder(dataclasses.replace(WAV2VEC, hidden_size=width))
    state = {f"wav2vec2.{k}": v for k, v in encoder.state_dict().items()}
    state |= {"lm_head.weight": torch.zeros(32, width), "lm_head.bias": torch.zeros(32)}
    if old_names:
        for number, name in ((0, "weight_g"), (1, "weight_v")):
            state = {k.replace(f"parametrizations.weight.original{number}", name): v for k, v in state.items()}
    return state


def whisper() -> dict[str, Tensor]:
    """As OpenAI's file: the encoder, its last LayerNorm, something of a decoder."""
    torch.manual_seed(0)
    state = {f"encoder.{k}": v for k, v in WhisperEncoder(WHISPER).state_dict().items()}
    width = WHISPER.hidden_size
    state |= {"encoder.ln_post.weight": torch.ones(width), "encoder.ln_post.bias": torch.zeros(width)}
    return state | {"decoder.ln.weight": torch.ones(width)}


def hallo(folder: Path, dtype: torch.dtype = torch.float16, old_names: bool = False) -> Path:
    """pretrained_models as Hallo wants it; gives net.pth."""
    save(vae(old_names), folder / "sd-vae-ft-mse" / "diffusion_pytorch_model.bin", dtype)
    save(wav2vec(old_names), folder / "wav2vec" / "wav2vec2-base-960h" / "pytorch_model.bin", torch.float32)
    return save(drawn("hallo_step"), folder / "hallo" / "net.pth", dtype)


def echomimic(folder: Path, dtype: torch.dtype = torch.float16) -> Path:
    """EchoMimic's four files and what they need, the accelerated pair too; gives denoising_unet.pth."""
    tensors = drawn("echomimic_step")
    unet = below(tensors, "denoising_unet.")
    for variant, factor in (("", 1.0), ("_acc", 0.5)):
        still = {k: v * factor for k, v in unet.items() if ".motion_modules." not in k}
        save(still, folder / f"denoising_unet{variant}.pth", dtype)
        moving = {k: v * factor for k, v in unet.items() if ".motion_modules." in k}
        save(moving, folder / f"motion_module{variant}.pth", dtype)
    save(below(tensors, "reference_unet."), folder / "reference_unet.pth", dtype)
    save(below(tensors, "face_locator."), folder / "face_locator.pth", dtype)
    save(vae(), folder / "sd-vae-ft-mse" / "diffusion_pytorch_model.bin", dtype)
    tiny = {"dims": dataclasses.asdict(WHISPER)["layers"], "model_state_dict": whisper()}
    (folder / "audio_processor").mkdir(parents=True)
    torch.save(tiny, folder / "audio_processor" / "whisper_tiny.pt")
    return folder / "denoising_unet.pth"


def v_express(folder: Path, dtype: torch.dtype = torch.float16) -> Path:
    """V-Express's five files and what they need; gives denoising_unet.bin."""
    tensors = drawn("v_express_step")
    unet = below(tensors, "denoising_unet.")
    moving = {k: v for k, v in unet.items() if ".motion_modules." in k}
    save({k: v for k, v in unet.items() if k not in moving}, folder / "denoising_unet.bin", dtype)
    save(moving, folder / "motion_module.bin", dtype)
    for part in ("reference_net", "v_kps_guider", "audio_projection"):
        save(below(tensors, f"{part}."), folder / f"{part}.bin", dtype)
    save(vae(), folder / "sd-vae-ft-mse" / "diffusion_pytorch_model.bin", dtype)
    save(wav2vec(width=32), folder / "wav2vec2-base-960h" / "pytorch_model.bin", dtype)
    return folder / "denoising_unet.bin"
