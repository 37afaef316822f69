"""Run a folder of golden numbers of a released system and print how far this network is from every tensor in it.

    python tests/parity.py FOLDER [--salt S]

A folder of the form of tests/fixtures/parity/v_express_step: `meta.json` (configuration), `weights_manifest.json`
(key -> shape; the weights are drawn from the keys, see `regenerate`), `inputs.safetensors`, `outputs*.safetensors`.
Everything is derived from them. Exit code 1 if a tensor's relative RMS error is above 1e-5; worst last.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from emo_core.config import AudioProjectionConfig, FaceLocatorConfig, MotionModuleConfig, UNetConfig
from emo_core.data import Conditions, ReferenceCache, ReferenceFeatures
from emo_core.models.audio_projection import AudioProjection
from emo_core.models.face_locator import FaceLocator
from emo_core.models.reference_net import ReferenceNet
from emo_core.models.unet import Backbone

LIMIT = 1e-5
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
    for place in (meta["config"], meta):
        for name in names:
            if place.get(name) is not None:
                return place[name]
    return default


def unet_config(manifest: Manifest, meta: Mapping[str, Any]) -> UNetConfig:
    """The shape of the network, from the shapes of its weights; what no shape tells (heads) from the configuration."""

    def count(pattern: str) -> int:
        return len({m.group(0) for key in manifest if (m := re.match(pattern, key))})

    net = r"denoising_unet\."
    levels = count(net + r"down_blocks\.\d+")
    resnets = [manifest[f"denoising_unet.down_blocks.{i}.resnets.0.conv1.weight"] for i in range(levels)]
    blocks = "denoising_unet.mid_block.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks"
    heads = first_of(meta, ("attention_head_dim", "heads", "num_attention_heads", "attention_heads"), 8)
    positions = manifest.get(f"{blocks}.0.pos_encoder.pe", [1, 32, 0])[1]
    motion = MotionModuleConfig(
        heads=first_of(meta, ("motion_heads", "motion_num_attention_heads", "temporal_attention_heads"), 8),
        attention_blocks=count(re.escape(blocks) + r"\.\d+"),
        max_length=first_of(meta, ("temporal_position_encoding_max_len",), positions),
    )
    return UNetConfig(
        in_channels=manifest["denoising_unet.conv_in.weight"][1],
        out_channels=manifest["denoising_unet.conv_out.weight"][0],
        block_out_channels=tuple(shape[0] for shape in resnets),
        attention_levels=tuple(
            f"denoising_unet.down_blocks.{i}.attentions.0.norm.weight" in manifest for i in range(levels)
        ),
        layers_per_block=count(net + r"down_blocks\.0\.resnets\.\d+"),
        heads=heads,
        norm_groups=first_of(meta, ("norm_num_groups", "norm_groups"), 32),
        audio_dim=manifest["denoising_unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"][1],
        reference_weight=first_of(meta, ("reference_attention_weight",), 0.95),
        audio_weight=first_of(meta, ("audio_attention_weight",), 3.0),
        reference_cross_attention="zero_token",
        motion=motion if motion.attention_blocks else None,
        speed=None,
    )


@dataclass(frozen=True)
class System:
    """V-Express's four networks with one folder's weights."""

    backbone: Backbone
    reference_net: ReferenceNet
    guider: FaceLocator
    audio: AudioProjection


def build(meta: Mapping[str, Any], manifest: Manifest, salt: int) -> System:
    """Networks shaped as the manifest says, filled with the weights that belong to its keys."""
    config, weights = unet_config(manifest, meta), regenerate(manifest, salt)
    channels = [manifest["v_kps_guider.conv_in.weight"][0]]
    while f"v_kps_guider.blocks.{2 * len(channels) - 1}.weight" in manifest:
        channels.append(manifest[f"v_kps_guider.blocks.{2 * len(channels) - 1}.weight"][0])
    locator = FaceLocatorConfig(
        in_channels=manifest["v_kps_guider.conv_in.weight"][1], channels=tuple(channels), white_is_none=False
    )
    system = System(
        backbone=Backbone(config),
        reference_net=ReferenceNet(config),
        guider=FaceLocator(locator, manifest["v_kps_guider.conv_out.weight"][0]),
        audio=audio_projection(meta, manifest),
    )
    load(system.backbone, weights, "denoising_unet.")
    load(system.reference_net, weights, "reference_net.")
    load(system.guider, weights, "v_kps_guider.")
    load(system.audio, weights, "audio_projection.")
    return system


def audio_projection(meta: Mapping[str, Any], manifest: Manifest) -> AudioProjection:
    """The resampler. `max_seq_len` vectors of one layer per window."""
    length, width = manifest["audio_projection.pos_emb.weight"]
    queries, dim = manifest["audio_projection.latents"][1:]
    inner, given = manifest["audio_projection.layers.0.0.to_q.weight"][0], meta["config"].get("audio_projection", {})
    dim_head = given.get("dim_head") or inner // given.get("heads", 12)
    depth = len({key.split(".")[2] for key in manifest if key.startswith("audio_projection.layers.")})
    config = AudioProjectionConfig(
        kind="resampler",
        features="last_layer",
        tokens=queries,
        depth=depth,
        resampler_dim=dim,
        dim_head=dim_head,
        resampler_heads=inner // dim_head,
        ff_mult=manifest["audio_projection.layers.0.1.1.weight"][0] // dim,
    )
    audio_dim = manifest["audio_projection.proj_out.weight"][0]
    return AudioProjection(config, layers=1, width=width, window_frames=length, audio_dim=audio_dim)


def load(module: nn.Module, weights: Mapping[str, Tensor], prefix: str) -> None:
    """Everything that the module has must be there; what ReferenceNet's output never reaches may be left over."""
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    missing, extra = module.load_state_dict(own, strict=False)
    missing = [key for key in missing if not key.endswith(".pe")]
    extra = [key for key in extra if not (isinstance(module, ReferenceNet) and module.is_unread(key))]
    if missing or extra:
        raise SystemExit(f"{prefix} missing {missing[:5]}, extra {extra[:5]}")
    module.eval()


class Recorder:
    """Outputs of named modules during one run."""

    def __init__(self, root: nn.Module, names: list[str]) -> None:
        self.found: dict[str, Tensor] = {}
        modules = dict(root.named_modules())
        for name in names:
            modules[name].register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self.found[name] = output[0] if isinstance(output, tuple) else output

        return hook


def run(system: System, inputs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One denoising step, named and laid out as the expected tensors: (b, c, f, h, w), the unconditional half first."""
    latents, kps = (inputs[name].transpose(1, 2) for name in ("latents", "kps_images"))
    batch, frames = latents.shape[:2]
    guided = expected["model_output"].shape[0] == 2 * batch
    tokens = system.audio(inputs["audio_windows"].unflatten(0, (-1, frames)).unsqueeze(3))
    feature = system.guider(kps)
    features = system.reference_net(inputs["ref_latents"])
    got = {"audio_tokens": tokens, "kps_feature": feature.transpose(1, 2)}
    got |= {f"bank.{site}.transformer_blocks.0": value for site, value in features.attention.items()}
    cache = system.backbone.project_reference(features)
    conditions = Conditions(audio_tokens=tokens, face_feature=feature)
    if guided:
        latents = latents.repeat(2, 1, 1, 1, 1)
        cache, conditions = with_unconditional(system, features, conditions)
    names = [key.removeprefix("act.") for key in expected if key.startswith("act.")]
    recorder = Recorder(system.backbone, names)
    timesteps = inputs["timestep"].reshape(-1).expand(latents.shape[0])
    out = system.backbone(latents, timesteps, cache, conditions)
    for name, value in recorder.found.items():
        is_map = value.dim() == 4
        got[f"act.{name}"] = value.unflatten(0, (-1, frames)).transpose(1, 2) if is_map else value
    got["model_output"] = out.transpose(1, 2)
    for key in expected:
        if key.startswith("guided_"):
            unconditional, conditional = got["model_output"].chunk(2)
            got[key] = unconditional + float(key.removeprefix("guided_")) * (conditional - unconditional)
    return got


def with_unconditional(
    system: System, features: ReferenceFeatures, conditions: Conditions
) -> tuple[ReferenceCache, Conditions]:
    """Both halves: features, tokens and guider feature of zero for the first."""

    def both(value: Tensor | None) -> Tensor:
        assert value is not None
        return torch.cat([torch.zeros_like(value), value])

    doubled = ReferenceFeatures(attention={site: both(value) for site, value in features.attention.items()})
    return system.backbone.project_reference(doubled), Conditions(
        audio_tokens=both(conditions.audio_tokens), face_feature=both(conditions.face_feature)
    )


def compare(folder: Path, salt: int | None = None) -> list[tuple[float, str]]:
    """Every tensor's (relative RMS error, "file: name") of a folder, worst last."""
    meta = json.loads((folder / "meta.json").read_text())
    manifest = json.loads((folder / "weights_manifest.json").read_text())
    inputs = load_file(folder / "inputs.safetensors")
    errors = []
    for path in sorted(folder.glob("outputs*.safetensors")):
        expected = load_file(path)
        system = build(meta, manifest, meta.get("salt", 0) if salt is None else salt)
        with torch.no_grad():
            got = run(system, inputs, expected)
        for name, value in expected.items():
            error = relative_rms(got[name], value) if name in got else float("inf")
            errors.append((error, f"{path.stem}: {name}"))
    return sorted(errors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--salt", type=int, default=None, help="salt of the weights (default: meta.json's)")
    options = parser.parse_args()
    errors = compare(options.folder, options.salt)
    for error, name in errors:
        print(f"{error:.3e}  {name}")
    worst = errors[-1][0] if errors else float("inf")
    print(f"{len(errors)} tensors, worst {worst:.3e}, limit {LIMIT:.0e}: {'ok' if worst <= LIMIT else 'FAILED'}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
