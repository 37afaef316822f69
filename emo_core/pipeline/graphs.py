"""The backbone's step as a CUDA graph: recorded once, then replayed with new numbers.

A step is thousands of kernels, and a card that is faster than its processor waits for each to be launched; replayed,
they follow each other by themselves. Exact: the same kernels on the same numbers. A graph holds on to all the memory of
a step, so that there are none where memory is short (`memory.MemoryPlan.roomy`) or where layers come and go.

Only where it is asked for: a recording that fails may leave the card's random numbers unusable for the process (seen on
an H200 with torch 2.11, where since then 252 frames of emo-mini and clips of Hallo's size were made without a failure).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from ..data import Conditions, DeepFeatures, ReferenceCache
from ..diffusion.guidance import Network
from .placement import device_of

if TYPE_CHECKING:
    from .memory import MemoryPlan

log = logging.getLogger(__name__)
T = TypeVar("T")


class Recorder:
    """What really records; tests put one for a CPU in its place."""

    device = "cuda"

    def record(self, work: Callable[[], T]) -> tuple[Callable[[], object], T]:
        """`work` as something that does it again, and what it gives, whose tensors it writes to each time."""
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads (a host's, one that page-locks batches) may go on asking for memory.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = work()
        return graph.replay, output


@dataclass
class Recorded:
    """One shape of call: what it reads (`inputs`, copied into before a replay) and what it writes."""

    replay: Callable[[], object]
    inputs: list[Tensor]
    output: Tensor
    copied: list[Tensor]  # whose numbers `inputs` hold; held on to, so that no other takes its place


@dataclass
class Graphs:
    """The graphs of one run. A call of a shape that was seen before is recorded, one that was recorded is replayed;
    all others, and all calls with shared deep features, run as they are."""

    recorder: Recorder = field(default_factory=Recorder)
    _seen: set[Hashable] = field(default_factory=set)
    _recorded: dict[Hashable, Recorded] = field(default_factory=dict)
    _weights: tuple[int, ...] = ()
    _failed: bool = False

    def around(self, backbone: nn.Module, network: Network) -> Network:
        """`network`, which is the backbone, for the steps of one clip."""
        if self._failed or device_of(backbone).type != self.recorder.device:
            return network
        places = tuple(tensor.data_ptr() for tensor in (*backbone.parameters(), *backbone.buffers()))
        if places != self._weights:  # a host took the weights away and back; graphs read where they were
            self.forget()
            self._weights = places

        def step(
            latents: Tensor,
            timesteps: Tensor,
            reference: ReferenceCache,
            conditions: Conditions,
            *,
            deep: DeepFeatures | None = None,
        ) -> Tensor:
            if deep is not None:
                return network(latents, timesteps, reference, conditions, deep=deep)
            return self._step(network, (latents, timesteps, reference, conditions))

        return step

    def serve(self, plan: MemoryPlan, *, device: torch.device, windows: bool, step_cache: int) -> bool:
        """Whether a run that was planned so has a use for them; if not, a line in the log says why."""
        obstacles = {
            f"the device is {device.type}": device.type != self.recorder.device,
            "its windows move from step to step": windows,
            "a step cache runs another part of the network in every step": step_cache > 1,
            "its networks come to the card and go": plan.mode != "none",
            "a step's memory cannot be kept beside a clip's": not plan.roomy,
        }
        reason = next((said for said, holds in obstacles.items() if holds), None)
        if reason is not None:
            log.info("No CUDA graphs: %s.", reason)
        return reason is None

    @property
    def count(self) -> int:
        """How many graphs there are."""
        return len(self._recorded)

    def forget(self) -> None:
        """Let go of all graphs and their memory."""
        self._seen.clear()
        self._recorded.clear()

    def give_up(self) -> bool:
        """Record nothing any more, for lack of memory. Whether that sets any free."""
        held = bool(self._recorded)
        self.forget()
        self._failed = True
        return held

    def _step(self, network: Network, given: tuple[Any, ...]) -> Tensor:
        tensors: list[Tensor] = []
        key = _taken_apart(given, tensors)
        if key not in self._seen or self._failed:  # the first call also lets libraries choose their kernels
            self._seen.add(key)
            return network(*given)
        recorded = self._recorded.get(key)
        if recorded is None:
            try:
                recorded = self._recorded[key] = self._record(network, given, tensors)
            except RuntimeError as error:  # all of torch's own, running out of memory among them
                log.warning("No CUDA graph, going on without: %s", str(error).split("\n")[0])
                self.give_up()
                return network(*given)
        for index, (tensor, copied) in enumerate(zip(tensors, recorded.copied, strict=True)):
            if tensor is not copied or index < 2:  # latents and timesteps are another step's in any case
                recorded.inputs[index].copy_(tensor)
                recorded.copied[index] = tensor
        recorded.replay()
        return recorded.output.clone()

    def _record(self, network: Network, given: tuple[Any, ...], tensors: list[Tensor]) -> Recorded:
        inputs = [tensor.clone(memory_format=torch.contiguous_format) for tensor in tensors]
        rest = iter(inputs)
        static = tuple(_with_tensors(value, lambda _: next(rest)) for value in given)
        replay, output = self.recorder.record(lambda: network(*static))
        log.info("a step is recorded: %d inputs", len(inputs))
        return Recorded(replay, inputs, output, list(tensors))


def _taken_apart(value: Any, tensors: list[Tensor]) -> Hashable:
    """What a record is but for the numbers in its tensors, which are added to the list in order."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return (tuple(value.shape), value.dtype)
    if dataclasses.is_dataclass(value):
        return tuple(_taken_apart(getattr(value, f.name), tensors) for f in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return tuple((name, _taken_apart(one, tensors)) for name, one in value.items())
    if isinstance(value, tuple | list):
        return tuple(_taken_apart(one, tensors) for one in value)
    return cast(Hashable, value)


def _with_tensors(value: Any, instead: Callable[[Tensor], Tensor]) -> Any:
    """The record with other tensors in their places, in the order of `_taken_apart`."""
    if isinstance(value, Tensor):
        return instead(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(
            value, **{f.name: _with_tensors(getattr(value, f.name), instead) for f in dataclasses.fields(value)}
        )
    if isinstance(value, Mapping):
        return {name: _with_tensors(one, instead) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_with_tensors(one, instead) for one in value)
    return value
