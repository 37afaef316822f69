"""What is this checkpoint: in, a path; out, family, parts, parameter counts and types, read from the names alone.

The key marks are those of the released checkpoints (Hallo net.pth, EchoMimic, V-Express, SD1.5, AnimateDiff, wav2vec2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..config import EmoConfig
from .file import resolve, saved_here
from .read import CONFIG_KEY, SAFETENSORS, read_header

if TYPE_CHECKING:
    from .released import Gathered

WHISPER_TINY_WIDTH = 384
SD_TEXT_WIDTHS = (768, 1024, 2048)  # of Stable Diffusion 1.5, 2 and XL
WHOLE_SD = "a whole Stable Diffusion checkpoint"
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0."


@dataclass(frozen=True)
class Kind:
    """A sort of checkpoint: `family` as in EmoConfig or None, `part` of a model or "model", what to call it."""

    family: str | None
    part: str
    description: str


@dataclass(frozen=True)
class FileReport:
    """One file of several that make a model."""

    path: Path
    kind: Kind
    parameters: int


@dataclass(frozen=True)
class CheckpointReport:
    """What `inspect` found. `parts`: first component of the names -> parameters; `dtypes`: type -> parameters."""

    path: Path
    kind: Kind
    config: EmoConfig | None
    tensors: int
    parameters: int
    bytes: int
    parts: dict[str, int]
    dtypes: dict[str, int]
    files: tuple[FileReport, ...] = ()  # where several files make a model, or lie together
    beside: Mapping[str, Path] = field(default_factory=dict)  # of a released model's file: where the other parts are
    missing: tuple[str, ...] | None = None  # of a released model: what it takes besides, each with its source
    unread: int = 0  # tensors that are never executed

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.kind.description}",
            f"  family      {self._family()}",
            f"  tensors     {self.tensors}, {self.parameters:,} parameters, {self.bytes / 1e6:.1f} MB on disk",
            f"  types       {', '.join(f'{name} {count:,}' for name, count in self.dtypes.items())}",
        ]
        if self.files:
            lines += [f"  {_below(f.path, self.path)}: {f.kind.description}, {f.parameters:,}" for f in self.files]
        else:
            lines += [f"  {name:<18} {count:>14,}" for name, count in self.parts.items()]
        lines += [f"  {self.unread} tensors are never executed"] * (self.unread > 0)
        lines += [f"  {part:<13} {path}" for part, path in self.beside.items()]
        missing = () if self.missing is None else self.missing or ("nothing",)
        return "\n".join([*lines, *(f"  missing     {part}" for part in missing)])

    def _family(self) -> str:
        if self.kind.family is not None:
            return f"{self.kind.family}{f' ({self.config.name})' if self.config else ''}"
        users = _USERS.get(self.kind.part)
        return f"none of its own; for {users}" if users else "unknown"


# Parts that belong to no one family -> who takes them.
_USERS = {
    "vae": "emo, hallo, echomimic and v_express",
    "audio_encoder": "emo, hallo and v_express",
    "motion": "echomimic and v_express, or for training to start from",
    "face_locator": "echomimic and v_express",
    "backbone": "EMO Load ReferenceNet, or for training to start from",
}
_PUBLISHED = {"hallo": "Hallo", "echomimic": "EchoMimic", "v_express": "V-Express"}


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


# In order: the first whose marks are all there. A mark ending in "." is a prefix of some name, others are whole names.
_KINDS: tuple[tuple[tuple[str, ...], Kind], ...] = (
    (("backbone.", "reference_net.", "vae."), Kind("emo", "model", "a whole EMO model")),
    (("backbone.", "reference_net."), Kind("emo", "network", "an EMO network without VAE")),
    (("denoising_unet.", "reference_unet.", "imageproj."), Kind("hallo", "model", "Hallo's net.pth")),
    (("conditioner.embedders.1.", "model.diffusion_model."), Kind(None, "unknown", "a Stable Diffusion XL checkpoint")),
    (("add_embedding.linear_1.weight", "down_blocks."), Kind(None, "unknown", "Stable Diffusion XL's U-Net")),
    ((f"{ATTENTION}attn1_5.to_q.weight",), Kind("v_express", "backbone", "V-Express's denoising_unet")),
    (
        ("down_blocks.", "down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"),
        Kind(None, "motion", "motion modules (AnimateDiff's form)"),
    ),
    (("conv_in.weight", "conv_out.weight", "blocks.0.weight"), Kind(None, "face_locator", "a face locator")),
    (("latents", "proj_in.weight", "proj_out.weight"), Kind("v_express", "audio_projection", "V-Express's resampler")),
    (("model.diffusion_model.",), Kind(None, "backbone", WHOLE_SD)),
    (("encoder.conv_in.weight", "decoder.mid.block_1.conv1.weight"), Kind(None, "vae", "an image VAE (original form)")),
    (("encoder.conv_in.weight", "decoder.conv_in.weight"), Kind(None, "vae", "an image VAE (AutoencoderKL)")),
    (("encoder.conv1.weight", "encoder.blocks."), Kind("echomimic", "audio_encoder", "Whisper (OpenAI's form)")),
    (("model.encoder.conv1.weight",), Kind("echomimic", "audio_encoder", "Whisper (transformers' form)")),
    (
        ("encoder.conv1.weight", "encoder.embed_positions.weight"),
        Kind("echomimic", "audio_encoder", "Whisper's encoder"),
    ),
    (("wav2vec2.",), Kind(None, "audio_encoder", "wav2vec2 with a head")),
    (("feature_extractor.", "feature_projection."), Kind(None, "audio_encoder", "a wav2vec2 encoder")),
)


def inspect(path: str | Path) -> CheckpointReport:
    """Look at a checkpoint without building it. Raises EmoInputError for what is no checkpoint at all."""
    from .released import gather, sources, weight_files

    found = resolve(path)
    ours = saved_here(found)
    gathered = None if ours else gather(found)
    if not found.is_dir():
        files = [found]
    elif ours:
        files = sorted(found.glob(f"*{SAFETENSORS}"))
    else:
        files = sorted(set(gathered.files.values())) if gathered is not None else weight_files(found)
    read = {file: read_header(file) for file in files}
    named = [item for tensors, _ in read.values() for item in tensors.items()]
    parts: Counter[str] = Counter()
    dtypes: Counter[str] = Counter()
    for name, tensor in named:
        parts[name.split(".")[0]] += tensor.numel()
        dtypes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    kinds = {file: recognise(tensors) for file, (tensors, _) in read.items()}
    config = _stored_config(metadata for _, metadata in read.values())
    return CheckpointReport(
        path=found,
        kind=_own_kind(dict(named), config) if ours else _kind(found, list(kinds.values()), gathered),
        config=config,
        tensors=len(named),
        parameters=sum(parts.values()),
        bytes=sum(file.stat().st_size for file in files),
        parts=dict(parts),
        dtypes=dict(dtypes),
        files=() if ours or len(files) < 2 else tuple(_file_report(f, kinds[f], read[f][0]) for f in files),
        beside={} if gathered is None else {p: f for p, f in gathered.files.items() if f not in read},
        missing=None if gathered is None else sources(gathered),
        unread=0 if gathered is None else _unread(gathered, set(files)),
    )


def _stored_config(metadata: Iterable[Mapping[str, str]]) -> EmoConfig | None:
    texts = [said[CONFIG_KEY] for said in metadata if CONFIG_KEY in said]
    return EmoConfig.from_json(texts[-1]) if texts else None


def _own_kind(tensors: Mapping[str, Tensor], config: EmoConfig | None) -> Kind:
    """EMO's own form is one whatever the family, which the configuration tells."""
    kind = recognise(tensors)
    return kind if config is None else Kind(config.family, kind.part, kind.description)


def _file_report(path: Path, kind: Kind, tensors: Mapping[str, Tensor]) -> FileReport:
    return FileReport(path, kind, sum(tensor.numel() for tensor in tensors.values()))


def _kind(path: Path, kinds: Sequence[Kind], gathered: Gathered | None) -> Kind:
    """Of a file, of a folder that holds one, of a released model, of files that make none."""
    if gathered is not None and path.is_dir():
        return Kind(gathered.family, "model", f"the released files of {_PUBLISHED[gathered.family]}")
    if len(kinds) == 1:
        return kinds[0]
    return Kind(None, "unknown", f"{len(kinds)} files that make no model together")


def _unread(gathered: Gathered, files: Set[Path]) -> int:
    """How many tensors of these files of a released model no forward pass reaches."""
    from .released import configured, drop_unread, named

    of_part = {part: named(part, read_header(path)[0]) for part, path in gathered.files.items()}
    ours = {name: value for tensors in of_part.values() for name, value in tensors.items()}
    unread = drop_unread(ours, configured(ours, gathered))
    here = {name for part, tensors in of_part.items() if gathered.files[part] in files for name in tensors}
    return len(here.intersection(unread))


def recognise(tensors: Mapping[str, Tensor]) -> Kind:
    """The sort of checkpoint, by its names and a few widths."""
    for marks, kind in _KINDS:
        if all(_has(tensors, mark) for mark in marks):
            return kind
    return _unet_kind(tensors)


def _has(tensors: Mapping[str, Tensor], mark: str) -> bool:
    return any(name.startswith(mark) for name in tensors) if mark.endswith(".") else mark in tensors


def _unet_kind(tensors: Mapping[str, Tensor]) -> Kind:
    """SD1.5's names are shared by many: the width of attn2's input and the last layers tell them apart."""
    if "down_blocks.0.resnets.0.conv1.weight" not in tensors:
        return Kind(None, "unknown", "nothing known here")
    context = tensors.get(f"{ATTENTION}attn2.to_k.weight")
    if context is None:
        return Kind("echomimic", "reference_net", "EchoMimic's reference_unet")
    if context.shape[-1] == WHISPER_TINY_WIDTH:
        return Kind("echomimic", "backbone", "EchoMimic's denoising_unet")
    if "conv_norm_out.weight" not in tensors or "conv_out.weight" not in tensors:
        return Kind("v_express", "reference_net", "a ReferenceNet from SD1.5 (V-Express's form)")
    if context.shape[-1] not in SD_TEXT_WIDTHS:  # smaller ones, as in tests
        return Kind("echomimic", "backbone", "EchoMimic's denoising_unet")
    return Kind(None, "backbone", "Stable Diffusion 1.5's U-Net")
