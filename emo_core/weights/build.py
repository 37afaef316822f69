"""Networks without weights, and weights put into them: in, what makes a network, then its tensors; out, the network.

Loading is strict: built without memory, every parameter taken from the file as it is, buffers computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..config import EmoConfig
from ..errors import EmoInputError
from .pickled import first_five

if TYPE_CHECKING:
    from ..models.emo import EmoModel

Network = TypeVar("Network", bound=nn.Module)


def suitable_dtype(config: EmoConfig, dtype: torch.dtype) -> torch.dtype:
    """A default type, or float32 in place of a float16 that the model's features do not fit into."""
    return torch.float32 if dtype == torch.float16 and not config.fits_float16 else dtype


def working_device(name: str | torch.device | None) -> torch.device:
    """The device of this name; None: CUDA where there is one, else the CPU."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def usable_device(name: str | None) -> torch.device:
    """`working_device`, asked for a little memory first. Raises EmoInputError for a device that is not here."""
    try:
        device = working_device(name)
    except RuntimeError as error:
        raise EmoInputError("device", repr(name), "cpu, cuda, cuda:1 or mps") from error
    try:
        if device.type == "meta":
            raise RuntimeError("a device without memory")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:  # each backend in its own way
        remedy = "Use --device cpu, or install a build of torch for this device."
        found = f"{name!r}, which torch cannot use here"
        raise EmoInputError("device", found, "a device of this machine", remedy) from error
    return device


def build_without_memory(config: EmoConfig) -> EmoModel:
    """An EmoModel whose parameters are on the meta device and whose buffers are computed."""
    from ..models.emo import EmoModel

    return without_memory(lambda: EmoModel(config))


def without_memory(make: Callable[[], Network]) -> Network:
    """What `make` builds, with its parameters on the meta device and its buffers computed."""
    with _ParametersOnMeta():
        network = make()
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.is_meta:
                empty = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
                module.register_parameter(name, empty)
    return network


class _ParametersOnMeta(TorchFunctionMode):
    """torch.empty gives meta tensors: nearly all layers make their parameters with it (the few others are small), and
    compute their buffers without it."""

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
    types = [  # whole numbers cannot be trained weights
        f"{name} ({tensors[name].dtype})".replace("torch.", "")
        for name, value in expected.items()
        if name in tensors and name not in optional and tensors[name].is_floating_point() != value.is_floating_point()
    ]
    problems = [("missing", missing), ("unknown", extra), ("of another shape", shapes), ("of another type", types)]
    said = "; ".join(f"{_count(names)} {what}: {first_five(names)}" for what, names in problems if names)
    if said:
        remedy = "Download it again, or choose the model, or the family, that it belongs to."
        raise EmoInputError("model", f"{where} with {said}", "exactly the tensors its configuration describes", remedy)


def _count(names: list[str]) -> str:
    return "1 tensor" if len(names) == 1 else f"{len(names)} tensors"
