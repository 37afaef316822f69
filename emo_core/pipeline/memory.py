"""How much memory a clip takes, before it is taken, and so how much of it to compute at a time.

In: a model and the work, as functions of a model. One step is run on the meta device, where tensors have a size and no
content, and what lives at the same time is added up: bytes beside the weights. What a device's own libraries keep for
themselves (workspaces of convolutions, an allocator's rounding) is not in it, for which there is MARGIN.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import EmoInputError
from .placement import device_of, dtype_of
from .recovery import Thrift

if TYPE_CHECKING:
    from ..models.emo import EmoModel

log = logging.getLogger(__name__)

MARGIN = 1.15  # of the estimate: what it leaves out
PLENTY = 16  # times the backbone's weights: then nothing is estimated (a step takes 1 to 2 times, at 512x512 in fp16)
KNOBS = "Use a smaller portrait size, guidance 1, or a model in float16."

Step = Callable[["EmoModel", Thrift], object]  # one step of a clip
Decode = Callable[["EmoModel", int], object]  # the pictures of so many frames


@dataclass(frozen=True)
class Needed:
    """Bytes beside the weights, at one time."""

    step: int
    decode: int

    @property
    def most(self) -> int:
        return max(self.step, self.decode)


def first_thrift(model: EmoModel, step: Step, decode: Decode, *, guided: bool, decode_chunk: int) -> Thrift:
    """How much to compute at a time so that it fits into what the device has free: all rows of guidance together or one
    after the other, and as many frames decoded at once as there is room for.

    Raises EmoInputError if even the least does not fit: a device that spills takes twenty times as long and does not
    say so. Where nobody can tell what is free, everything is tried; running out is caught later (recovery).
    """
    device, plan = device_of(model.backbone), Thrift(one_row_per_pass=False, decode_chunk=decode_chunk)
    free = free_bytes(device)
    if free is None or free > PLENTY * weight_bytes(model.backbone):
        return plan
    twin, room = without_weights(model), free / MARGIN
    needed = needed_for(twin, step, decode, plan)
    log.info("a clip needs about %s beside the weights; %s are free on %s", _gb(needed.most), _gb(free), device)
    if needed.step > room and guided:
        plan.one_row_per_pass = True
    while peak_bytes(lambda: decode(twin, plan.decode_chunk)) > room and plan.decode_chunk > 1:
        plan.decode_chunk = max(1, plan.decode_chunk // 2)
    if (plan.one_row_per_pass, plan.decode_chunk) != (False, decode_chunk):
        needed = needed_for(twin, step, decode, plan)
        rows = "one row of guidance at a time, " if plan.one_row_per_pass else ""
        log.info("less at a time: %s%d frames decoded at once: %s", rows, plan.decode_chunk, _gb(needed.most))
    if needed.most > room:
        found = f"{_gb(free)} free on {device}, where a clip needs about {_gb(needed.most * MARGIN)} beside the weights"
        raise EmoInputError("memory", found, "enough for one clip, computed in the smallest parts", KNOBS)
    return plan


def needed_for(twin: EmoModel, step: Step, decode: Decode, plan: Thrift) -> Needed:
    """What a clip takes when it is computed as `plan` says; `twin` as `without_weights` makes it."""
    return Needed(peak_bytes(lambda: step(twin, plan)), peak_bytes(lambda: decode(twin, plan.decode_chunk)))


def free_bytes(device: torch.device) -> int | None:
    """What may still be taken on a device; None where nobody can tell (a CPU that is not Linux's)."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + kept)
    if device.type == "mps" and hasattr(torch.mps, "recommended_max_memory"):  # torch 2.5
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    if device.type == "cpu" and _MEMINFO.exists():
        lines = _MEMINFO.read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)
    return None


_MEMINFO = Path("/proc/meminfo")


def _gb(count: float) -> str:
    return f"{count / 2**30:.2f} GB"


class LiveBytes(TorchDispatchMode):
    """Adds up the storages of the meta tensors that are made while it is entered; `peak` is the most at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._owners: dict[int, int] = {}  # storage -> tensors that hold it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, list | tuple) else (made,):
            if isinstance(tensor, Tensor) and tensor.is_meta:
                self._hold(tensor)
        return made

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._owners:
            self._now += size
            self.peak = max(self.peak, self._now)
        self._owners[key] = self._owners.get(key, 0) + 1
        weakref.finalize(tensor, self._let_go, key, size)

    def _let_go(self, key: int, size: int) -> None:
        self._owners[key] -= 1
        if not self._owners[key]:
            del self._owners[key]
            self._now -= size


class _FusedAttention(TorchFunctionMode):
    """Attention as the devices' own kernels do it, which never hold queries times keys."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


def peak_bytes(work: Callable[[], object]) -> int:
    """The most that `work`, which must run on meta tensors, holds at one time beside what it was given."""
    with ExitStack() as modes:
        modes.enter_context(torch.no_grad())
        modes.enter_context(_FusedAttention())
        live = modes.enter_context(LiveBytes())
        work()
    return live.peak


def weight_bytes(*networks: nn.Module) -> int:
    """Of all parameters and buffers."""
    tensors = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def without_weights(model: EmoModel) -> EmoModel:
    """The same model on the meta device, each part in its own type. A host's model may lack the audio encoder, and have
    a VAE of the host's own, for which the configuration's stands."""
    from ..weights.file import build_without_memory

    twin = build_without_memory(model.config).eval().requires_grad_(False)
    for name, own in model.named_children():
        if any(True for _ in own.parameters()):
            getattr(twin, name).to("meta", dtype_of(own))
    return twin
