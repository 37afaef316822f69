"""Released checkpoints as whole models: in, a file or folder of Hallo, EchoMimic or V-Express; out, tensors under our
names and the configuration they imply. Which file is what is read off its keys, never off its name.

The VAE and the audio encoder, which these systems take from elsewhere, are looked for in the same folder and in the one
above. Pickles are mapped, not read, so that no second copy of the weights is in memory.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..audio.encoder import wav2vec2_state
from ..audio.whisper import whisper_of, whisper_state
from ..config import ECHOMIMIC, HALLO, V_EXPRESS, EmoConfig
from ..errors import EmoInputError
from .build import without_memory
from .kinds import Kind, recognise
from .locate import weight_files
from .pickled import first_five
from .read import read_header, read_tensors
from .shapes import face_locator_of, mlp_projection_of, read_sizes, resampler_of, unet_of, vae_of, wav2vec2_of
from .spellings import vae_state

log = logging.getLogger(__name__)

ACCELERATED = "_acc"  # EchoMimic's distilled pair of files: 6 steps without guidance
POSE = "_pose"  # EchoMimic's weights for landmark videos, which we do not run

# family -> what is published where, for the error that names a missing part: part -> (file, where)
SOURCES = {
    "vae": ("sd-vae-ft-mse: diffusion_pytorch_model.safetensors, 335 MB", "stabilityai/sd-vae-ft-mse"),
    "wav2vec2": ("wav2vec2-base-960h: model.safetensors, 378 MB", "facebook/wav2vec2-base-960h"),
    "whisper": ("whisper_tiny.pt, 76 MB", "BadToBest/EchoMimic, audio_processor"),
    "motion": ("motion_module, 1.8 GB", "the model's own page"),
    "reference_net": ("reference_unet.pth or reference_net.bin, 3.3 GB", "the model's own page"),
    "face_locator": ("face_locator.pth or v_kps_guider.bin", "the model's own page"),
    "audio_projection": ("audio_projection.bin", "tk93/V-Express"),
}
NEEDS = {
    "hallo": ("vae", "wav2vec2"),
    "echomimic": ("motion", "reference_net", "face_locator", "vae", "whisper"),
    "v_express": ("motion", "reference_net", "face_locator", "audio_projection", "vae", "wav2vec2"),
}
PRESET = {"hallo": HALLO, "echomimic": ECHOMIMIC, "v_express": V_EXPRESS}
_LICENCE = "V-Express's weights are for non-commercial research only (its README)."
_shown: set[str] = set()


@dataclass(frozen=True)
class Found:
    """One file of a released system."""

    path: Path
    kind: Kind

    @property
    def variant(self) -> str:
        """ "", "_acc", "_pose" or "_pose_acc": EchoMimic's variants have the same keys."""
        name = self.path.stem
        return (POSE if POSE in name else "") + (ACCELERATED if name.endswith(ACCELERATED) else "")


@dataclass(frozen=True)
class Gathered:
    """The files of one model, by part ("model" is a file that holds most parts, Hallo's)."""

    family: str
    files: Mapping[str, Path]
    missing: tuple[str, ...]
    variant: str = ""


def gather(path: Path, family: str | None = None) -> Gathered | None:
    """The released model that a file or folder stands for, with what belongs to it; None if it is no such model.

    Raises EmoInputError where a folder holds several and `family` does not choose.
    """
    own = scan(weight_files(path))
    mains = [f for f in own if f.kind.family in PRESET and f.kind.part in ("model", "backbone")]
    mains = [f for f in mains if family in (None, f.kind.family)]
    if path.is_dir():
        mains = [f for f in mains if f.variant == ""] or mains
    if not mains:
        return None
    families = sorted({str(f.kind.family) for f in mains})
    if len(families) > 1:
        remedy = "Choose the family, or one of the folders inside."
        raise EmoInputError("model", f"{path.name} with {' and '.join(families)}", "one model", remedy)
    main = min(mains, key=lambda f: (len(f.path.parts), f.path.name))
    if POSE in main.variant:
        remedy = "Use denoising_unet.pth, which is driven by sound alone."
        raise EmoInputError("model", f"{main.path.name}, which follows a video of landmarks", "sound alone", remedy)
    near = own if path.is_dir() else [*own, *_around(path.parent)]
    above = (path if path.is_dir() else path.parent).parent
    return _complete(main, near, lambda: _around(above))


def _around(folder: Path) -> list[Found]:
    """What lies in a folder that was not asked for; nothing where that is too much to look through."""
    try:
        return scan(weight_files(folder))
    except EmoInputError as error:
        log.info("%s is not looked through: %s", folder, error)
        return []


def _complete(main: Found, near: Sequence[Found], far: Callable[[], Sequence[Found]]) -> Gathered:
    """The file of every other part: the one whose path is most like the main file's."""
    family = str(main.kind.family)
    files, missing = {main.kind.part: main.path}, []
    further: Sequence[Found] | None = None
    for part in NEEDS[family]:
        fitting = [f for f in near if _fits(f, part, main)]
        if not fitting:
            further = far() if further is None else further
            fitting = [f for f in further if _fits(f, part, main)]
        if fitting:
            files[part] = min(fitting, key=lambda f: (_distance(f.path, main.path), str(f.path))).path
        elif part != "motion" or not any(".motion_modules." in name for name in read_header(main.path)[0]):
            missing.append(part)
    return Gathered(family, files, tuple(missing), main.variant)


def _fits(found: Found, part: str, main: Found) -> bool:
    kind = found.kind
    if part in ("wav2vec2", "whisper"):
        return kind.part == "audio_encoder" and (kind.family == "echomimic") == (part == "whisper")
    if kind.part != part or kind.family not in (None, main.kind.family):
        return False
    if part == "motion":
        return found.variant == main.variant
    return POSE not in found.variant


def _distance(one: Path, other: Path) -> int:
    common = sum(1 for a, b in zip(one.parts, other.parts, strict=False) if a == b)
    return len(one.parts) + len(other.parts) - 2 * common


def scan(files: Sequence[Path]) -> list[Found]:
    """What each file is; files that cannot be read are passed over unless there is only one."""
    found = []
    for file in files:
        try:
            found.append(Found(file, recognise(read_header(file)[0])))
        except EmoInputError as error:
            if len(files) == 1:
                raise
            log.info("%s is passed over: %s", file, error)
    return found


def sources(gathered: Gathered) -> tuple[str, ...]:
    """What is missing: which file, and from where."""
    return tuple(f"{part}: {SOURCES[part][0]} (from {SOURCES[part][1]})" for part in gathered.missing)


def read_released(gathered: Gathered) -> tuple[dict[str, Tensor], EmoConfig]:
    """Tensors under our names, and the configuration. Raises EmoInputError if a part is missing."""
    if gathered.missing:
        wanted = "; ".join(sources(gathered))
        main = next(iter(gathered.files.values()))
        found = f"{main.name} without {', '.join(gathered.missing)}"
        raise EmoInputError(
            "model", found, f"the rest of {gathered.family} beside it", f"Put into {main.parent}: {wanted}."
        )
    if gathered.family == "v_express" and _LICENCE not in _shown:
        _shown.add(_LICENCE)
        log.warning(_LICENCE)
    tensors: dict[str, Tensor] = {}
    # Motion modules first: where EchoMimic's denoising_unet has some too, its own code prefers those.
    for part, path in sorted(gathered.files.items(), key=lambda item: item[0] != "motion"):
        tensors |= named(part, read_tensors(path)[0])
    config = configured(tensors, gathered)
    if gathered.variant == ACCELERATED:
        clip, guidance = dataclasses.replace(config.clip, steps=6), dataclasses.replace(config.guidance, scale=1.0)
        config = dataclasses.replace(config, name=f"{config.name}-acc", clip=clip, guidance=guidance)
    unread = drop_unread(tensors, config)
    if unread:
        log.info("%s: %d tensors are never executed, %s and so on", config.name, len(unread), unread[0])
    return tensors, config


_HALLO = {
    "denoising_unet.": "backbone.",
    "reference_unet.": "reference_net.",
    "face_locator.": "face_locator.",
    "imageproj.": "reference_net.identity_projection.",
    "audioproj.": "audio_projection.",
}
_PREFIX = {"backbone": "backbone.", "motion": "backbone.", "vae": "vae.autoencoder."}
_PREFIX |= {name: f"{name}." for name in ("reference_net", "face_locator", "audio_projection")}


def named(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One file's tensors under our names."""
    if part == "model":
        return {_hallo_name(name): value for name, value in tensors.items()}
    if part == "vae":
        tensors = vae_state(tensors)
    elif part in ("wav2vec2", "whisper"):
        read = whisper_state if part == "whisper" else wav2vec2_state
        return {f"audio_encoder.{name}": value for name, value in read(tensors).items()}
    return {_PREFIX[part] + name: value for name, value in tensors.items()}


def _hallo_name(name: str) -> str:
    return next((new + name.removeprefix(old) for old, new in _HALLO.items() if name.startswith(old)), name)


def released_config(tensors: Mapping[str, Tensor], preset: EmoConfig) -> EmoConfig:
    """`preset` with the sizes that tensors (under our names) have; parts that are not there stay the preset's."""

    def shapes(prefix: str) -> dict[str, tuple[int, ...]]:
        return {k.removeprefix(prefix): tuple(v.shape) for k, v in tensors.items() if k.startswith(prefix)}

    readers: dict[str, tuple[str, Callable[..., Any]]] = {
        "face_locator": ("face_locator.", face_locator_of),
        "audio_encoder": ("audio_encoder.", wav2vec2_of if preset.audio_encoder.kind == "wav2vec2" else whisper_of),
        "vae": ("vae.autoencoder.", vae_of),
    }
    if preset.audio_projection.kind != "none":
        of = mlp_projection_of if preset.audio_projection.kind == "mlp" else resampler_of
        readers["audio_projection"] = ("audio_projection.", of)
    found = {
        name: read(shapes(prefix), getattr(preset, name)) for name, (prefix, read) in readers.items() if shapes(prefix)
    }
    unet = unet_of(shapes("backbone."), preset.unet, shapes("reference_net.identity_projection."))
    return dataclasses.replace(preset, unet=unet, **found)


def configured(tensors: Mapping[str, Tensor], gathered: Gathered) -> EmoConfig:
    """As released_config. Raises EmoInputError where a tensor that tells a size is missing, or says what cannot be."""
    names = first_five(sorted({path.name for path in gathered.files.values()}))
    preset = PRESET[gathered.family]
    return read_sizes(lambda: released_config(tensors, preset), names).refuse_impossible("model")


def drop_unread(tensors: dict[str, Tensor], config: EmoConfig) -> list[str]:
    """Take what the networks of `config` never execute out of `tensors`; the names, in order."""
    from ..models.reference_net import ReferenceNet
    from ..models.unet import Backbone

    networks: dict[str, Any] = {
        "backbone.": without_memory(lambda: Backbone(config.unet)),
        "reference_net.": without_memory(lambda: ReferenceNet(config.unet)),
    }
    unread = [
        name
        for name in tensors
        for prefix, network in networks.items()
        if name.startswith(prefix) and network.is_unread(name.removeprefix(prefix))
    ]
    for name in unread:
        del tensors[name]
    return unread
