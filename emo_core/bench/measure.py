"""How things are timed: in turns (A B A B), warm, medians with their spread; and what a run costs besides time."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

log = logging.getLogger(__name__)

Work = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of every turn."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def spread(self) -> tuple[float, float]:
        """10th and 90th percentile."""
        low, high = np.percentile(self.seconds, [10, 90])
        return float(low), float(high)

    def as_text(self) -> str:
        return spread_text(self.median, self.spread)


@dataclass(frozen=True)
class Versus:
    """A against B, turn by turn."""

    a: Timing
    b: Timing

    @property
    def ratio(self) -> float:
        """How many times as long A takes: the median over the pairs, which forgives what slows a pair as a whole."""
        return float(np.median([a / b for a, b in zip(self.a.seconds, self.b.seconds, strict=True)]))


def spread_text(median: float, spread: tuple[float, float]) -> str:
    """Seconds: the median, and the 10th and 90th percentile."""
    return f"{median:.2f} ({spread[0]:.2f}-{spread[1]:.2f})"


def versus(a: Work, b: Work, turns: int = 7) -> Versus:
    """Time both in turns after one run of each that does not count."""
    a()
    b()
    times = in_turns({"A": a, "B": b}, turns)
    return Versus(times["A"], times["B"])


def in_turns(works: Mapping[str, Work], turns: int) -> dict[str, Timing]:
    """Time works by name in turns, each turn in the other order, so that none profits from going first; without a warm
    run; every run is told as it ends."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(turns):
        for name in list(works) if turn % 2 == 0 else reversed(list(works)):
            seconds[name].append(timed(works[name]))
            log.info("turn %d of %d: %s %.2f s", turn + 1, turns, name, seconds[name][-1])
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def timed(work: Work) -> float:
    """Seconds of one run, the device's queue emptied before and after."""
    synchronise()
    began = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - began


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def operations(work: Work) -> float:
    """Floating point operations of one run, as torch counts them (2 per multiply-add)."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def matrix_rate(device: torch.device, dtype: torch.dtype, *, size: int = 2048, turns: int = 5) -> float:
    """Operations per second of a square matrix product: what the device can do at best."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    torch.mm(a, b)
    return 2 * size**3 / min(timed(lambda: torch.mm(a, b)) for _ in range(turns))


@dataclass
class Inside:
    """Seconds spent inside some modules' forward, while `watched`."""

    seconds: float = 0.0
    _began: list[float] = field(default_factory=list)


@contextmanager
def watched(*modules: nn.Module) -> Iterator[Inside]:
    """Add up the time inside the modules' forward; modules that contain each other count once."""
    inside = Inside()

    def enter(*_: object) -> None:
        synchronise()
        inside._began.append(time.perf_counter())

    def leave(*_: object) -> None:
        synchronise()
        began = inside._began.pop()
        if not inside._began:
            inside.seconds += time.perf_counter() - began

    hooks = [h for m in modules for h in (m.register_forward_pre_hook(enter), m.register_forward_hook(leave))]
    try:
        yield inside
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def watched_calls(owner: object, name: str) -> Iterator[Inside]:
    """The same for a method that is called by itself; it must not call itself."""
    inside, method = Inside(), getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        synchronise()
        began = time.perf_counter()
        made = method(*args, **kwargs)
        synchronise()
        inside.seconds += time.perf_counter() - began
        return made

    vars(owner)[name] = call
    try:
        yield inside
    finally:
        del vars(owner)[name]


def kernel_seconds(work: Work) -> float | None:
    """Seconds in which the CUDA device works during one run, overlapping work counted once; None without CUDA, or where
    its profiler sees nothing."""
    if not torch.cuda.is_available():
        return None
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    synchronise()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
        synchronise()
    events = seen.profiler.kineto_results.events()  # as they come: seen.events() takes long to make a tree of them
    spans = sorted(
        (event.start_ns(), event.start_ns() + event.duration_ns())
        for event in events
        if event.device_type() == DeviceType.CUDA and not event.is_user_annotation()
    )
    if not spans:
        log.warning("The profiler sees nothing of the CUDA device (it may lack the right to).")
        return None
    return covered(spans) / 1e9


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """The length that sorted spans (begin, end) cover together."""
    total, reached = 0.0, float("-inf")
    for begin, end in spans:
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def peak_rss() -> int:
    """The most memory this process ever held, in bytes; 0 on Windows, which does not say."""
    if _STATUS.exists():
        return _said("VmHWM")  # getrusage's peak would begin with that of the process that started this one
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def present_rss() -> int:
    """The memory this process holds now, in bytes, pages of mapped files included; 0 where it cannot be told."""
    return _said("VmRSS") if _STATUS.exists() else 0


_STATUS = Path("/proc/self/status")


def _said(name: str) -> int:
    """A line of Linux's own account of this process, in bytes."""
    return next(int(line.split()[1]) * 1024 for line in _STATUS.read_text().splitlines() if line.startswith(name))
