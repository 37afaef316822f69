"""How much memory a clip takes, before it is taken, and so how much of it, and of the networks, is there at a time.

In: a model and the work, as functions of a model. One step is run on the meta device, where tensors have a size and no
content, and what lives at the same time is added up: bytes beside the weights. What a device's own libraries keep for
themselves (workspaces of convolutions, an allocator's rounding) is not in it, for which there is MARGIN.
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
# Times the backbone's weights, and what pictures that are decoded at once hold where that is counted: then nothing is
# estimated (a step takes 1 to 2 times the weights, at 512x512 in fp16; decoding 5 times the pictures, at 1024).
PLENTY = 16
ROOMY = 2  # times what a clip takes: then two steps, with guidance and without, may be kept beside the decoder's
KNOBS = "Use a smaller portrait size, guidance 1, or a model in float16."

Mode = Literal["auto", "none", "parts", "groups"]  # how networks come to the device: see offload
Step = Callable[["EmoModel", Thrift], object]  # one step of a clip
Decode = Callable[["EmoModel", int], object]  # the pictures of so many frames
Motion = Callable[["EmoModel"], object]  # what the clip before hands on


@dataclass(frozen=True)
class Work:
    """The stages of a clip as functions of a model; `step` does what `motion` does, and then more."""

    step: Step
    decode: Decode
    motion: Motion


@dataclass(frozen=True)
class Needed:
    """Bytes beside the weights, at one time; `motion` is 0 where it was not asked for."""

    step: int
    decode: int
    motion: int = 0

    @property
    def most(self) -> int:
        return max(self.step, self.decode)


@dataclass(frozen=True)
class Weights:
    """Bytes that come to the device for the work, beside what is there; `layers`: what of the backbone is there at one
    time where its layers come and go."""

    backbone: int
    layers: int
    conditions: int
    reference_net: int
    vae: int

    def most(self, mode: Mode, needed: Needed) -> int:
        """Bytes at one time, with MARGIN on what is computed, if the weights come as `offload` says."""
        step, decode, motion = (math.ceil(MARGIN * count) for count in (needed.step, needed.decode, needed.motion))
        if mode == "none":
            return self.backbone + self.conditions + self.reference_net + self.vae + max(step, decode)
        sampling = self.backbone if mode == "parts" else self.layers
        alone = max(self.backbone, self.conditions)  # the backbone is whole while the portrait is projected
        return max(sampling + step, self.vae + decode, self.reference_net + motion, alone)


NOTHING = Weights(0, 0, 0, 0, 0)


@dataclass(frozen=True)
class MemoryPlan:
    """How a clip is computed: how its networks come to the device (`offload`), how much of it at a time. `needed`: the
    bytes at one time that this was counted to take, with MARGIN; None where there was plenty and nothing was counted.
    `roomy`: so much is free beside it that a step's memory may be kept between the steps (`graphs`).
    """

    mode: Mode
    thrift: Thrift
    needed: int | None = None
    roomy: bool = True


def plan_memory(
    model: EmoModel,
    work: Work,
    *,
    guided: bool,
    decode_chunk: int,
    modes: Sequence[Mode] = ("none",),
    weights: Weights = NOTHING,
    device: torch.device | None = None,
    pictures: int = 0,
    always: bool = False,
) -> MemoryPlan:
    """The first of `modes` with which a clip fits into what the device has free, and how much to compute at a time: all
    rows of guidance together or one after the other, and as many frames decoded at once as there is room for.

    `device`: the backbone's own, unless it has yet to come. Raises EmoInputError if even the least does not fit: a
    device that spills takes twenty times as long and does not say so. Where nobody can tell what is free, the first
    mode and everything at once are tried; running out is caught later (recovery). `pictures`: bytes of what is decoded
    at once, where its size does not follow from the network's. `always`: counted also where there is plenty.
    """
    device = device_of(model.backbone) if device is None else device
    free = free_bytes(device)
    if free is None or (free > PLENTY * (weight_bytes(model.backbone) + pictures) and not always):
        return MemoryPlan(modes[0], Thrift(one_row_per_pass=False, decode_chunk=decode_chunk))
    counts = _Counts(without_weights(model), work, moved=weights != NOTHING)
    least = 0
    for mode in modes:
        thrift = Thrift(one_row_per_pass=False, decode_chunk=decode_chunk)
        if guided and weights.most(mode, Needed(counts.step(thrift), 0)) > free:
            thrift.one_row_per_pass = True
        while weights.most(mode, Needed(0, counts.decode(thrift))) > free and thrift.decode_chunk > 1:
            thrift.decode_chunk = max(1, thrift.decode_chunk // 2)
        least = weights.most(mode, counts.needed(thrift))
        if least <= free:
            log.info("%s", _said(mode, thrift, guided=guided, needed=least, free=free, device=device))
            return MemoryPlan(mode, thrift, least, roomy=free >= ROOMY * least)
    beside = "" if weights != NOTHING else " beside the weights"
    found = f"{gigabytes(free)} free on {device}, where a clip needs about {gigabytes(least)}{beside}"
    raise EmoInputError("memory", found, "enough for one clip, computed in the smallest parts", KNOBS)


class _Counts:
    """What the stages take on a twin without weights, each counted once. `moved`: the networks come and go, so that
    encoding motion frames is a stage of its own."""

    def __init__(self, twin: EmoModel, work: Work, *, moved: bool) -> None:
        self._twin, self._work, self._moved = twin, work, moved
        self._counted: dict[tuple[str, int], int] = {}

    def _once(self, stage: str, size: int, count: Callable[[], object]) -> int:
        if (stage, size) not in self._counted:
            self._counted[stage, size] = peak_bytes(count)
        return self._counted[stage, size]

    def step(self, thrift: Thrift) -> int:
        return self._once("step", thrift.one_row_per_pass, lambda: self._work.step(self._twin, thrift))

    def decode(self, thrift: Thrift) -> int:
        frames = thrift.decode_chunk
        return self._once("decode", frames, lambda: self._work.decode(self._twin, frames))

    def needed(self, thrift: Thrift) -> Needed:
        motion = self._once("motion", 0, lambda: self._work.motion(self._twin)) if self._moved else 0
        return Needed(self.step(thrift), self.decode(thrift), motion)


def _said(mode: Mode, thrift: Thrift, *, guided: bool, needed: int, free: int, device: torch.device) -> str:
    """The plan in a line."""
    rows = "one row of guidance at a time, " if guided and thrift.one_row_per_pass else ""
    at_once = f"{rows}{thrift.decode_chunk} frames decoded at once"
    return f"memory: offload {mode}, {at_once}: about {gigabytes(needed)} of {gigabytes(free)} free on {device}"


def needed_for(twin: EmoModel, work: Work, thrift: Thrift) -> Needed:
    """What a clip takes when it is computed as `thrift` says; `twin` as `without_weights` makes it."""
    return _Counts(twin, work, moved=True).needed(thrift)


def free_bytes(device: torch.device) -> int | None:
    """What may still be taken on a device; None where nobody can tell (a CPU that is not Linux's). On CUDA no more than
    the share of the card that torch was told to leave it at (`set_per_process_memory_fraction`)."""
    if device.type == "cuda":
        return _free_cuda_bytes(device)
    if device.type == "mps" and hasattr(torch.mps, "recommended_max_memory"):  # torch 2.5
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    if device.type == "cpu" and _MEMINFO.exists():
        lines = _MEMINFO.read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)
    return None


def _free_cuda_bytes(device: torch.device) -> int:
    allocated = torch.cuda.memory_allocated(device)
    free, total = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - allocated  # what torch holds and nobody uses
    if not hasattr(torch.cuda, "get_per_process_memory_fraction"):  # torch 2.8
        return int(free)
    index = torch.cuda.current_device() if device.index is None else device.index
    allowed = int(torch.cuda.get_per_process_memory_fraction(index) * total)
    return int(min(free, max(0, allowed - allocated)))


_MEMINFO = Path("/proc/meminfo")


def gigabytes(count: float) -> str:
    """For a sentence."""
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
