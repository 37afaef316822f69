"""Models on disk: in, "emo-mini" or a path; out, an EmoModel; and back.

A model is one `.safetensors` or a folder of them (so that every file stays small), its configuration as JSON in the
metadata. Loading is strict: built without memory, every parameter taken from the file as it is, buffers computed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..config import EmoConfig
from ..errors import EmoInputError
from .read import CONFIG_KEY, SAFETENSORS, first_five, read_header, read_tensors, refuse_nan

if TYPE_CHECKING:
    from ..models.emo import EmoModel

Network = TypeVar("Network", bound=nn.Module)

PART_BYTES = 15_000_000  # the largest file of a model saved as a folder
PARTS = {  # file name -> the model's parts in it
    "vae": ("vae",),
    "audio": ("audio_encoder", "audio_projection"),
    "network": ("backbone", "reference_net", "face_locator", "speed_layers", "posed_portrait"),
}


def load_model(
    name: str | Path,
    family: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    *,
    config: EmoConfig | None = None,
    home: torch.device | None = None,
    default_dtype: torch.dtype | None = None,
) -> EmoModel:
    """A model ready for inference (eval, no gradients) from a bundled name, a file or a folder of safetensors.

    `device` defaults to CUDA where there is one; `dtype` to `default_dtype`, and that to float32 on the CPU and to the
    file's elsewhere; float16 is no default for a model that does not fit into it. `config` is for files that carry
    none. `home`: where the weights lie instead, until the work brings them to `device` (`pipeline.offload`). Raises
    EmoInputError for a missing, damaged or wrong file, naming what is wrong.
    """
    path = resolve(name)
    tensors, stored = read_whole(path, family) if config is None else read_checkpoint(path)
    config = stored or config
    if config is None:
        raise _unknown_checkpoint(path, tensors)
    if family is not None and family != config.family:
        raise EmoInputError("family", repr(family), f"{config.family!r}, which {path.name} says it is")
    device = working_device(device)
    if dtype is None:
        stored_or_safe = torch.float32 if device.type == "cpu" else _stored_dtype(tensors)
        dtype = suitable_dtype(config, default_dtype or stored_or_safe)
    refuse_nan(tensors, path)
    model = build_without_memory(config)
    assign(model, tensors, device=device if home is None else home, dtype=dtype, where=path.name)
    return model


def suitable_dtype(config: EmoConfig, dtype: torch.dtype) -> torch.dtype:
    """A default type, or float32 in place of a float16 that the model's features do not fit into."""
    return torch.float32 if dtype == torch.float16 and not config.fits_float16 else dtype


def working_device(name: str | torch.device | None) -> torch.device:
    """The device of this name; None: CUDA where there is one, else the CPU."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def resolve(name: str | Path) -> Path:
    """The file or folder a name stands for: a bundled model first, then the path itself."""
    if str(name) in bundled_models():
        return Path(__file__).parent / str(name)
    path = Path(name).expanduser()
    if not path.exists():
        allowed = f"the path of a checkpoint, or one of the bundled models: {', '.join(bundled_models()) or 'none'}"
        raise EmoInputError("model", f"{str(name)!r}, which does not exist", allowed)
    return path


def bundled_models() -> list[str]:
    """Names of the models that ship beside this file."""
    return sorted(p.name for p in Path(__file__).parent.iterdir() if any(p.glob(f"*{SAFETENSORS}")))


def build_without_memory(config: EmoConfig) -> EmoModel:
    """An EmoModel whose parameters are on the meta device and whose buffers are computed."""
    from ..models.emo import EmoModel

    return without_memory(lambda: EmoModel(config))


def without_memory(make: Callable[[], Network]) -> Network:
    """What `make` builds, with its parameters on the meta device and its buffers computed."""
    with _ParametersOnMeta():
        return make()


class _ParametersOnMeta(TorchFunctionMode):
    """torch.empty gives meta tensors: layers make their parameters with it, and compute their buffers without it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


def assign(
    model: nn.Module, tensors: dict[str, Tensor], *, device: torch.device, dtype: torch.dtype, where: str
) -> None:
    """Make `tensors` the parameters, strictly. Stored buffers are checked and left: the computed ones are exact."""
    _check_names_and_shapes(model, tensors, where)
    buffers = {name for name, _ in model.named_buffers()}
    parameters = {
        name: value.to(device, dtype if value.is_floating_point() else None)
        for name, value in tensors.items()
        if name not in buffers
    }
    model.load_state_dict(parameters, strict=False, assign=True)
    model.to(device, dtype)  # the computed buffers, and nothing else: parameters are already there
    left = [name for name, t in [*model.named_parameters(), *model.named_buffers()] if t.is_meta]
    if left:
        raise RuntimeError(f"no value for {first_five(left)}")
    model.eval().requires_grad_(False)


def _check_names_and_shapes(model: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    expected = model.state_dict()
    optional = {name for name, _ in model.named_buffers()}
    missing = [name for name in expected if name not in tensors and name not in optional]
    extra = [name for name in tensors if name not in expected]
    shapes = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    problems = [("missing", missing), ("unknown", extra), ("of another shape", shapes)]
    said = "; ".join(f"{len(names)} tensors {what}: {first_five(names)}" for what, names in problems if names)
    if said:
        raise EmoInputError("model", f"{where} with {said}", "exactly the tensors its configuration describes")


def read_whole(path: Path, family: str | None) -> tuple[dict[str, Tensor], EmoConfig | None]:
    """A model as EMO saved it, or a released one with all that belongs to it (see `released`)."""
    from .released import gather, read_released

    if saved_here(path):
        return read_checkpoint(path)
    gathered = gather(path, family)
    if gathered is not None:
        return read_released(gathered)
    return read_checkpoint(path)[0], None


def saved_here(path: Path) -> bool:
    """Whether a file, or a safetensors file of a folder, carries a configuration and tensors under our own names.

    A converted part carries one too, but keeps the names that it was released with.
    """
    files = sorted(path.glob(f"*{SAFETENSORS}")) if path.is_dir() else [path]
    ours = {part for parts in PARTS.values() for part in parts}
    for file in files:
        if file.suffix == SAFETENSORS:
            tensors, metadata = read_header(file)
            if CONFIG_KEY in metadata and any(name.split(".")[0] in ours for name in tensors):
                return True
    return False


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], EmoConfig | None]:
    """All tensors of a file, or of the files of a folder, and the configuration they carry, if any."""
    files = sorted(path.glob(f"*{SAFETENSORS}")) if path.is_dir() else [path]
    if not files:
        raise EmoInputError("model", f"the folder {path} without a {SAFETENSORS} file", "a folder that holds a model")
    tensors: dict[str, Tensor] = {}
    configs: dict[str, str] = {}
    for file in files:
        part, metadata = read_tensors(file)
        twice = sorted(set(part) & set(tensors))
        if twice:
            found = f"{first_five(twice)} twice in the folder {path}"
            raise EmoInputError("model", found, "each tensor in one file", "Keep one model per folder.")
        tensors |= part
        if CONFIG_KEY in metadata:
            configs[metadata[CONFIG_KEY]] = file.name
    if len(configs) > 1:
        found = f"different configurations in {', '.join(configs.values())}"
        raise EmoInputError("model", found, "one model per folder")
    return tensors, EmoConfig.from_json(next(iter(configs))) if configs else None


def _stored_dtype(tensors: dict[str, Tensor]) -> torch.dtype:
    return next((t.dtype for t in tensors.values() if t.is_floating_point()), torch.float32)


def _unknown_checkpoint(path: Path, tensors: dict[str, Tensor]) -> EmoInputError:
    from .inspect import recognise

    kind = recognise(tensors)
    found = f"{path.name}, which is no whole model of EMO's own form and looks like {kind.description}"
    allowed = "a model saved by EMO, or the released files of Hallo, EchoMimic or V-Express"
    return EmoInputError(
        "model", found, allowed, "Choose the file of the network, or the folder that holds all of them."
    )


def save_model(model: EmoModel, path: str | Path, *, dtype: torch.dtype | None = torch.float16) -> list[Path]:
    """Write `model` to `path`: one file if it ends in .safetensors, else a folder of files of at most PART_BYTES.

    Parameters only, as `dtype` (None: as they are); buffers are computed on loading. Returns the files written.
    """
    path = Path(path)
    parameters = {name: _to_store(name, value, dtype) for name, value in model.named_parameters()}
    metadata = {CONFIG_KEY: model.config.to_json()}
    if path.suffix == SAFETENSORS:
        path.parent.mkdir(parents=True, exist_ok=True)
        return [_write(path, parameters, metadata)]
    path.mkdir(parents=True, exist_ok=True)
    written = [_write(path / file, part, metadata) for file, part in _split(parameters)]
    for stale in set(path.glob(f"*{SAFETENSORS}")) - set(written):
        stale.unlink()  # parts of an earlier save under another name would be loaded as well
    return written


def save_tensors(tensors: dict[str, Tensor], config: EmoConfig, path: Path, *, dtype: torch.dtype | None) -> Path:
    """Write tensors under the names they have, with a configuration: a part of a model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {name: _to_store(name, value, dtype) for name, value in tensors.items()}
    return _write(path, stored, {CONFIG_KEY: config.to_json()})


def _to_store(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    if value.dtype == torch.float8_e4m3fn:  # worth nothing without its scales (models/float8.py)
        raise EmoInputError(
            "model", f"{name} in float8", "a model as it was loaded", "Save it before it is made small."
        )
    stored = value.detach().to("cpu", dtype if value.is_floating_point() else None).contiguous()
    if not bool(torch.isfinite(stored).all()):
        raise EmoInputError("model", f"{name} with values that {dtype} cannot hold", "finite weights")
    return stored


def _split(parameters: dict[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Files of at most PART_BYTES (or one tensor), by part of the model: vae, audio, network, network-2 ..."""
    for file, parts in PARTS.items():
        names = [name for name in parameters if name.split(".")[0] in parts]
        chunks: list[dict[str, Tensor]] = [{}]
        for name in names:
            size = sum(t.numel() * t.element_size() for t in (*chunks[-1].values(), parameters[name]))
            if chunks[-1] and size > PART_BYTES:
                chunks.append({})
            chunks[-1][name] = parameters[name]
        for number, chunk in enumerate(chunks, start=1):
            if chunk:
                yield f"{file}{'' if number == 1 else f'-{number}'}{SAFETENSORS}", chunk


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    from safetensors.torch import save_file

    temporary = path.with_name(path.name + ".part")
    save_file(tensors, temporary, metadata=metadata)
    os.replace(temporary, path)  # a killed save leaves the old file
    return path
