"""What every golden folder shares: weights drawn from their keys, configurations read off manifests, errors."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from emo_core.config import UNetConfig
from emo_core.weights.shapes import below, unet_of

Manifest = Mapping[str, list[int]]


def regenerate(manifest: Manifest, salt: int) -> dict[str, Tensor]:
    """Weights from their keys; buffers (`pos_encoder.pe`) are computed by the network, not drawn."""
    weights = {}
    for key, shape in manifest.items():
        if key.endswith(".pe"):
            continue
        generator = torch.Generator().manual_seed((zlib.crc32(key.encode()) + salt) & 0x7FFFFFFF)
        r = torch.randn(shape, generator=generator, dtype=torch.float32)
        if len(shape) >= 2:
            weights[key] = r / (r.numel() / shape[0]) ** 0.5
        else:
            weights[key] = 1 + 0.1 * r if key.endswith(".weight") else 0.05 * r
    return weights


def relative_rms(got: Tensor, expected: Tensor) -> float:
    """RMS of the difference over RMS of what is expected; infinite for another shape or a number that is none."""
    if got.shape != expected.shape:
        return float("inf")
    error = (got.double() - expected.double()).square().mean().sqrt() / expected.double().square().mean().sqrt()
    return float(error) if torch.isfinite(error) else float("inf")


def first_of(meta: Mapping[str, Any], names: tuple[str, ...], default: Any) -> Any:
    """A setting that may stand in the configuration or beside it, under one of several names."""
    for place in (meta.get("config", {}), meta):
        for name in names:
            if place.get(name) is not None:
                return place[name]
    return default


def network_config(manifest: Manifest, meta: Mapping[str, Any], base: UNetConfig) -> UNetConfig:
    """The shape of the network, from the shapes of its weights; what no shape tells (heads) from the configuration."""
    unet = unet_of(below(manifest, "denoising_unet."), base, below(manifest, "imageproj."))
    motion = unet.motion
    if motion is not None:
        motion = dataclasses.replace(
            motion,
            heads=first_of(meta, ("motion_heads", "motion_num_attention_heads", "temporal_attention_heads"), 8),
            max_length=first_of(meta, ("temporal_position_encoding_max_len",), motion.max_length),
        )
    return dataclasses.replace(
        unet,
        heads=first_of(meta, ("attention_head_dim", "heads", "num_attention_heads", "attention_heads"), 8),
        norm_groups=first_of(meta, ("norm_num_groups", "norm_groups"), 32),
        reference_weight=first_of(meta, ("reference_attention_weight",), base.reference_weight),
        audio_weight=first_of(meta, ("audio_attention_weight", "audio_feature_ratio"), base.audio_weight),
        motion=motion,
        # The golden steps were made with features in fp32; what a whole run of the released code does, it says itself.
        reference_rounding=first_of(meta, ("reference_rounding",), "none"),
    )


def load(module: nn.Module, weights: Mapping[str, Tensor], prefix: str) -> None:
    """Everything that the module has must be there; what it says it never reads may be left over."""
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    missing, extra = module.load_state_dict(own, strict=False)
    missing = [key for key in missing if not key.endswith(".pe") and not key.startswith("identity_projection.")]
    is_unread = getattr(module, "is_unread", lambda key: False)
    extra = [key for key in extra if not is_unread(key)]
    if missing or extra:
        raise SystemExit(f"{prefix} missing {missing[:5]}, extra {extra[:5]}")
    module.eval()


class Recorder:
    """Outputs of named modules during one run."""

    def __init__(self, root: nn.Module, names: list[str]) -> None:
        self.found: dict[str, Tensor] = {}
        modules = dict(root.named_modules())
        for name in names:
            if name in modules:
                modules[name].register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self.found[name] = output[0] if isinstance(output, tuple) else output

        return hook

    def activations(self, frames: int) -> dict[str, Tensor]:
        """By golden name; maps (b * f, c, h, w) as (b, c, f, h, w)."""
        return {
            f"act.{name}": value.unflatten(0, (-1, frames)).transpose(1, 2) if value.dim() == 4 else value
            for name, value in self.found.items()
        }


def activation_names(expected: Mapping[str, Tensor]) -> list[str]:
    return [key.removeprefix("act.") for key in expected if key.startswith("act.")]


def guided_outputs(expected: Mapping[str, Tensor], model_output: Tensor) -> dict[str, Tensor]:
    """The guided predictions that are asked for, from both halves, the unconditional first."""
    found = {}
    for key in expected:
        if key.startswith("guided_"):
            unconditional, conditional = model_output.chunk(2)
            found[key] = unconditional + float(key.removeprefix("guided_")) * (conditional - unconditional)
    return found
