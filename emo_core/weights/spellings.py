"""Other spellings of the same networks: released tensors in, the names that our modules have out; no value is changed.

Stable Diffusion's original checkpoints (U-Net and VAE), and the attention names that diffusers' VAE used to have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

Rules = tuple[tuple[str, str], ...]

VAE_PREFIX, UNET_PREFIX = "first_stage_model.", "model.diffusion_model."

_OLD_ATTENTION: Rules = (
    (r"\.query\.", ".to_q."),
    (r"\.key\.", ".to_k."),
    (r"\.value\.", ".to_v."),
    (r"\.proj_attn\.", ".to_out.0."),
)
_ORIGINAL_VAE: Rules = (
    (r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.down\.(\d+)\.block\.(\d+)\.", r".down_blocks.\1.resnets.\2."),
    (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
)
_UP = r"\.up\.(\d{1,3})\."  # no level has more digits, but a damaged file may
_ORIGINAL_RESNET: Rules = (
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".time_emb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".conv_shortcut."),
)
_ORIGINAL_ENDS: Rules = (
    (r"^time_embed\.0\.", "time_embedding.linear_1."),
    (r"^time_embed\.2\.", "time_embedding.linear_2."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^out\.0\.", "conv_norm_out."),
    (r"^out\.2\.", "conv_out."),
    (r"^middle_block\.0\.", "mid_block.resnets.0."),
    (r"^middle_block\.1\.", "mid_block.attentions.0."),
    (r"^middle_block\.2\.", "mid_block.resnets.1."),
)


def vae_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An AutoencoderKL's tensors under diffusers' present names, from any of its spellings or a whole checkpoint."""
    if any(name.startswith(VAE_PREFIX) for name in tensors):
        tensors = {k.removeprefix(VAE_PREFIX): v for k, v in tensors.items() if k.startswith(VAE_PREFIX)}
    levels = len({found.group(1) for name in tensors if (found := re.match(r"decoder\.up\.(\d{1,3})\.", name))})
    named = {}
    for name, value in tensors.items():
        if name.startswith(("loss.", "model_ema.")):  # training's leftovers
            continue
        new = _renamed(_renamed(name, _OLD_ATTENTION), _ORIGINAL_VAE)
        new = re.sub(_UP + r"block\.", lambda m: f".up_blocks.{levels - 1 - int(m[1])}.resnets.", new)
        new = re.sub(_UP + r"upsample\.", lambda m: f".up_blocks.{levels - 1 - int(m[1])}.upsamplers.0.", new)
        is_matrix = ".attentions." in new and new.endswith(".weight") and value.shape[2:] == (1, 1)
        named[new] = value[:, :, 0, 0] if is_matrix else value
    return named


def unet_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SD1.5's U-Net under diffusers' names, from those or from the original single file."""
    if not any(name.startswith(UNET_PREFIX) for name in tensors):
        return dict(tensors)
    inner = {k.removeprefix(UNET_PREFIX): v for k, v in tensors.items() if k.startswith(UNET_PREFIX)}
    attends = {name.split(".transformer_blocks")[0] for name in inner if ".transformer_blocks" in name}
    return {_unet_name(name, attends): value for name, value in inner.items()}


def _unet_name(name: str, attends: set[str]) -> str:
    """One name of the original U-Net, in which a level is three blocks in a row both down and up (SD1.5's)."""
    name = _renamed(name, _ORIGINAL_ENDS)
    found = re.match(r"(input|output)_blocks\.(\d{1,3})\.(\d)\.(.*)", name)
    if found is None:
        return _renamed(name, _ORIGINAL_RESNET) if "resnets" in name else name
    way, number, part, rest = found[1], int(found[2]), int(found[3]), found[4]
    level, layer = divmod(number - 1 if way == "input" else number, 3)
    block = f"{'down' if way == 'input' else 'up'}_blocks.{level}"
    if rest.startswith("op."):
        return f"{block}.downsamplers.0.conv.{rest.removeprefix('op.')}"
    if part == 0:
        return _renamed(f"{block}.resnets.{layer}.{rest}", _ORIGINAL_RESNET)
    if f"{way}_blocks.{number}.{part}" in attends:
        return f"{block}.attentions.{layer}.{rest}"
    return f"{block}.upsamplers.0.{rest}"


def _renamed(name: str, rules: Rules) -> str:
    for pattern, new in rules:
        name = re.sub(pattern, new, name)
    return name
