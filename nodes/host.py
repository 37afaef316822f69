"""The only door to the host: devices, memory, progress, preview, interrupt, model folders, the output folder.

Nothing of ComfyUI is imported before one of these functions is called, so that the module itself loads without a host.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..emo_core.config import VAEConfig
from ..emo_core.errors import EmoInputError
from ..emo_core.files import exists, expanded
from ..emo_core.models.parts import ModelPart
from ..emo_core.weights.folder import find_below
from ..emo_core.whole import FULL_DISK

log = logging.getLogger(__name__)
T = TypeVar("T")

FOLDER = "emo"  # below the host's models folder
FOLDER_VARIABLE = "EMO_MODELS_DIR"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
PREVIEW_SHARE = 0.02  # of the time goes into preview pictures at most
PREVIEW_SIZE = 512  # pixels
_TEXT_IN_JSON = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True)
class LoadedPart:
    """A part of a model in the host's care. `identity` changes with the file it came from and with its precision."""

    part: ModelPart
    patcher: Any
    identity: str


def manage(part: ModelPart, identity: str) -> LoadedPart:
    """Give a part that lies in main memory to the host's memory manager."""
    from comfy import model_management, model_patcher

    patcher_class = getattr(model_patcher, "CoreModelPatcher", model_patcher.ModelPatcher)
    patcher = patcher_class(
        part,
        load_device=model_management.get_torch_device(),
        offload_device=model_management.unet_offload_device(),
    )
    return LoadedPart(part, patcher, identity)


def load(patchers: Sequence[Any], memory_required: float = 0.0) -> None:
    """Bring parts to the device, others out of the way; `memory_required` bytes are kept free for the work itself.

    Parts are on the device whole or not at all: their layers are plain ones, which the host cannot run half loaded.
    """
    from comfy import model_management

    options = {"memory_required": memory_required, "force_full_load": True}
    known = inspect.signature(model_management.load_models_gpu).parameters
    model_management.load_models_gpu(list(patchers), **{name: options[name] for name in options if name in known})
    for patcher in patchers:
        if len({parameter.device for parameter in patcher.model.parameters()}) > 1:
            patcher.model.to(patcher.load_device)


def working_dtype() -> torch.dtype:
    """What the loaders take where no type is asked for: float16 where this machine's card is good at it."""
    from comfy import model_management

    half = model_management.should_use_fp16(model_management.get_torch_device(), prioritize_performance=False)
    return torch.float16 if half else torch.float32


def to_output(tensor: Tensor) -> Tensor:
    """A tensor where the host wants the results of nodes."""
    from comfy import model_management

    return tensor.to(model_management.intermediate_device())


def free_main_memory() -> float:
    """Bytes that the results of nodes may still take."""
    from comfy import model_management

    free: float = model_management.get_free_memory(model_management.intermediate_device())
    return free


def room_for_frames(frames: int, *, height: int, width: int) -> Tensor:
    """An IMAGE (f, H, W, 3) to be filled, on the device of results. Raises EmoInputError now rather than at the end if
    it will not fit into memory."""
    needed, free = frames * height * width * 3 * 4, free_main_memory()
    if needed > free:
        found = f"{frames} frames of {width}x{height}, {needed / 2**30:.1f} GB as one IMAGE"
        remedy = "Use EMO Sample To Video, which writes every clip to the file as it is done, or trim the audio."
        raise EmoInputError("memory", found, f"at most the {free / 2**30:.1f} GB that are free", remedy)
    return to_output(torch.empty(0)).new_empty((frames, height, width, 3), dtype=torch.float32)


def check_interrupt() -> bool:
    """Raises the host's own exception if the user pressed stop; else False, so that it can serve as `should_stop`."""
    from comfy import model_management

    model_management.throw_exception_if_processing_interrupted()
    return False


class ProgressBar:
    """The bar on the running node, with a picture now and then. Every tick raises if the user pressed stop."""

    def __init__(self, total: int) -> None:
        from comfy import utils

        self._bar = utils.ProgressBar(total)

    def tick(self, done: int, total: int, picture: Tensor | None = None) -> None:
        """`picture` (H, W, 3) in 0..1."""
        check_interrupt()
        self._bar.update_absolute(done, total, None if picture is None else _preview(picture))


def _preview(picture: Tensor) -> tuple[str, Any, int]:
    from PIL import Image

    pixels = (picture.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    return "JPEG", Image.fromarray(pixels.numpy()), PREVIEW_SIZE


def each(items: Iterable[T], total: int | None = None) -> Iterator[T]:
    """The items, with the bar moving and the user's stop heard before each."""
    count = total if total is not None else len(items) if isinstance(items, Sized) else 0
    bar = ProgressBar(max(1, count))
    for done, item in enumerate(items):
        bar.tick(done, max(1, count))
        yield item
    bar.tick(max(1, count), max(1, count))


class PreviewPace:
    """Decides when a preview may be made, so that all of them together take at most `share` of the time."""

    def __init__(self, share: float = PREVIEW_SHARE, clock: Callable[[], float] = time.monotonic) -> None:
        self._share, self._clock = share, clock
        self._not_before = clock()

    def maybe(self, make: Callable[[], Tensor]) -> Tensor | None:
        """What `make` gives, or None if it is too early for it."""
        began = self._clock()
        if began < self._not_before:
            return None
        picture = make()
        ended = self._clock()
        self._not_before = ended + (ended - began) * (1 / self._share - 1)
        return picture


def tiny_previewer(vae: VAEConfig) -> Callable[[Tensor], Tensor] | None:
    """The host's own quick decoder for Stable Diffusion's latents, as its setting --preview-method says (taesd, or
    colours by a matrix): latents (1, c, h, w), scaled, to a picture (h', w', 3) in 0..1. An approximation, for previews
    alone. None where the setting is none or auto, or the latents are others."""
    if vae.kind != "kl" or vae.latent_channels != 4:
        return None
    try:
        import latent_preview
        from comfy import latent_formats, model_management
        from comfy.cli_args import LatentPreviewMethod, args

        if args.preview_method in (LatentPreviewMethod.NoPreviews, LatentPreviewMethod.Auto):
            return None
        previewer = latent_preview.get_previewer(model_management.get_torch_device(), latent_formats.SD15())
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError) as error:  # another host, a damaged file
        log.warning("No quick previews: %s", error)
        return None
    if previewer is None:
        return None
    return lambda latents: _pixels(previewer.decode_latent_to_preview(latents.float()))


def _pixels(image: Any) -> Tensor:
    """An image of Pillow's as (h, w, 3) in 0..1."""
    import numpy as np

    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).float() / 255


def model_folders() -> list[Path]:
    """Where models are looked for: EMO_MODELS_DIR, then the host's folders of the name `emo`. They need not exist."""
    folders = _named_folders(os.environ.get(FOLDER_VARIABLE, ""))
    paths = sys.modules.get("folder_paths")
    if paths is not None:
        _register(paths)
        folders += [Path(folder) for folder in paths.get_folder_paths(FOLDER)]
    return list(dict.fromkeys(folders))


def _named_folders(named: str) -> list[Path]:
    """One folder, or several with the system's separator (: or ;) between them, as in PATH. What is none is told."""
    each = [named] if exists(expanded(named)) else named.split(os.pathsep)
    folders = [Path(os.path.abspath(expanded(name.strip()))) for name in each if name.strip()]
    for folder in folders:
        _tell_unless_folder(folder)
    return folders


@functools.cache  # once: the lists are made again and again
def _tell_unless_folder(folder: Path) -> None:
    if not os.path.isdir(folder):
        log.warning("%s names %s, and there is no such folder: no models are found there.", FOLDER_VARIABLE, folder)
    elif not os.access(folder, os.R_OK | os.X_OK):
        log.warning("%s names %s, which may not be read: no models are found there.", FOLDER_VARIABLE, folder)


def network_folders() -> list[Path]:
    """Where further networks of a user's own are looked for (a face's identity, separation of voices): beside the
    models, and where other packs keep insightface's."""
    paths = sys.modules.get("folder_paths")
    others = [] if paths is None else [Path(paths.models_dir) / "insightface"]
    return [*model_folders(), *others]


def find_network(name: str) -> Path | None:
    """The file of a further network, if the user has it."""
    return find_below(name, network_folders())


def _register(paths: Any) -> None:
    """Make `models/emo` known to the host once; folders of extra_model_paths.yaml stay."""
    default = os.path.join(paths.models_dir, FOLDER)
    known, extensions = paths.folder_names_and_paths.get(FOLDER, ([], None))
    if default not in known or not extensions:
        paths.add_model_folder_path(FOLDER, default, is_default=True)
        known, _ = paths.folder_names_and_paths[FOLDER]
        paths.folder_names_and_paths[FOLDER] = (known, paths.supported_pt_extensions)


def output_folder(prefix: str, *, width: int, height: int) -> tuple[Path, str, str]:
    """The folder a file with this prefix goes to, the beginning of its name, and the folder below `output`.

    The host fills in %hour% and the like. Raises EmoInputError for a prefix that leads out of its output folder or that
    no disk takes, and for an output folder that cannot be written to.
    """
    paths = sys.modules["folder_paths"]
    root: str = paths.get_output_directory()
    _refuse_outside(prefix, root)
    if os.path.isdir(root) and not os.access(root, os.W_OK | os.X_OK):
        remedy = "See that ComfyUI may write there, or start it with --output-directory and another one."
        raise EmoInputError("output folder", f"{root}, which may not be written to", "one that may be", remedy)
    try:
        folder, name, _, below, _ = paths.get_save_image_path(prefix, root, width, height)
        os.fsencode(name)
        if "\0" in name:
            raise ValueError("a zero byte")
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            remedy = "Free some space and queue the same again."
            raise EmoInputError("output folder", f"a full disk at {root}", "room", remedy) from error
        where = f"see that {root} can be written to"
        remedy = f"Choose a shorter one, without characters that a disk does not take, and {where}."
        raise EmoInputError("filename_prefix", f"{prefix[:200]!r} ({error})", "the name of a file", remedy) from error
    return Path(folder), name if name.strip(".") else "EMO", below


def _refuse_outside(prefix: str, root: str) -> None:
    """Raises EmoInputError for a prefix that the host would refuse as well, over four lines and without a remedy."""
    folder = os.path.abspath(os.path.join(root, os.path.dirname(os.path.normpath(prefix))))
    if not Path(folder).is_relative_to(root):
        found = f"{prefix[:200]!r}, which leads out of the output folder {root}"
        remedy = "Write it without .. and without a disk or a / at its beginning. "
        remedy += "ComfyUI's own option --output-directory moves the whole folder."
        raise EmoInputError("filename_prefix", found, "a name in that folder, or in folders below it", remedy)


def output_root() -> Path:
    """The host's output folder: what is unfinished lies in it, whatever folder below it the video will go to."""
    return Path(sys.modules["folder_paths"].get_output_directory())


def next_number(folder: Path, name: str) -> int:
    """The number after the highest of `name_00001_...` in a folder, finished or not.

    Names are compared as a disk does that takes no notice of their case: a number too many does no harm.
    """
    numbered = re.compile(re.escape(f"{name}_".casefold()) + r"(\d+)_", re.ASCII)
    found = [numbered.match(entry.casefold()) for entry in os.listdir(folder)]
    return max((int(match[1]) for match in found if match), default=0) + 1


def workflow_metadata(hidden: Any) -> dict[str, str]:
    """The workflow and the prompt as core writes them into a video, by name, for the frontend to read back; empty with
    --disable-metadata. What cannot be written is left out, with a warning: no video is lost for it."""
    from comfy.cli_args import args

    if args.disable_metadata or hidden is None:
        return {}
    extra: Any = {} if hidden.extra_pnginfo is None else hidden.extra_pnginfo
    if not isinstance(extra, Mapping):
        log.warning("extra_pnginfo, of type %s, is not written into the video", type(extra).__name__)
        extra = {}
    values = {**extra, **({} if hidden.prompt is None else {"prompt": hidden.prompt})}
    written = {}
    for name, value in values.items():
        try:
            str(name).encode()  # half a letter
            written[str(name)] = _for_javascript(value)
        except Exception as error:  # nested too deep, or an object of another pack that raises what it likes
            log.warning("%r is not written into the video (%s)", name, type(error).__name__)
    return written


def _for_javascript(value: object) -> str:
    """JSON that a browser reads: null where a number is none (the host writes NaN into a prompt for every node that
    asks to be run each time), words for objects of other packs. Braces in texts are escaped, because the frontend
    counts braces to find the end of what it reads from a webm."""
    text = json.dumps(_without_nan(value), default=str, skipkeys=True)
    return _TEXT_IN_JSON.sub(lambda text: text[0].replace("{", "\\u007b").replace("}", "\\u007d"), text)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return [_without_nan(inner) for inner in value] if isinstance(value, list | tuple) else value


def file_video(path: Path) -> Any:
    """A VIDEO that lies in a file and is read only when somebody asks for its pictures."""
    from comfy_api.latest import InputImpl

    return InputImpl.VideoFromFile(str(path))
