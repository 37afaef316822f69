"""What sort of checkpoint tensors are: in, tensors by name; out, a Kind, told from names and a few widths alone.

The key marks are those of the released checkpoints (Hallo net.pth, EchoMimic, V-Express, SD1.5, AnimateDiff, wav2vec2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import EmoInputError

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


def recognise(tensors: Mapping[str, Tensor]) -> Kind:
    """The sort of checkpoint, by its names and a few widths."""
    for marks, kind in _KINDS:
        if all(_has(tensors, mark) for mark in marks):
            return kind
    return _unet_kind(tensors)


def refuse_bare(kind: Kind, path: Path) -> None:
    """Raises EmoInputError for EMO's own tensors without what every save of ours puts beside them."""
    if kind.family == "emo":
        found = f"{path.name}, the tensors of {kind.description} without the configuration that makes a network of them"
        remedy = "Save it from Python with emo_core.weights.file.save_model."
        raise EmoInputError("model", found, "a model as EMO saves it", remedy)


def _has(tensors: Mapping[str, Tensor], mark: str) -> bool:
    return any(name.startswith(mark) for name in tensors) if mark.endswith(".") else mark in tensors


def _unet_kind(tensors: Mapping[str, Tensor]) -> Kind:
    """SD1.5's names are shared by many: the width of attn2's input and the last layers tell them apart."""
    if "down_blocks.0.resnets.0.conv1.weight" not in tensors:
        return Kind(None, "unknown", "nothing known here")
    context = tensors.get(f"{ATTENTION}attn2.to_k.weight")
    if context is None:
        return Kind("echomimic", "reference_net", "EchoMimic's reference_unet")
    width = context.shape[-1] if context.ndim else 0
    if width == WHISPER_TINY_WIDTH:
        return Kind("echomimic", "backbone", "EchoMimic's denoising_unet")
    if "conv_norm_out.weight" not in tensors or "conv_out.weight" not in tensors:
        return Kind("v_express", "reference_net", "a ReferenceNet from SD1.5 (V-Express's form)")
    if width not in SD_TEXT_WIDTHS:  # smaller ones, as in tests
        return Kind("echomimic", "backbone", "EchoMimic's denoising_unet")
    return Kind(None, "backbone", "Stable Diffusion 1.5's U-Net")
