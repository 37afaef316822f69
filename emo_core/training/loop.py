"""The training loop under every stage: accelerate, a time budget, warm-up and decay, clipping, EMA, checkpoints, a log.

A stage is a module whose forward turns a batch into (loss, parts to log), and a function from (step, rank) to a batch.
One process per core with one thread each is the fastest on a CPU; the same code runs on one GPU or under
`accelerate launch` on many.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import EmoInputError
from ..files import shown
from ..pipeline.graphs import Recorder
from ..whole import explain_unwritable, refuse_folder
from .checkpoint import (
    Counters,
    find_checkpoint,
    load_counters,
    load_moments,
    load_whole,
    refuse_place,
    save_checkpoint,
)

log = logging.getLogger(__name__)

LOG = "log.jsonl"
LOST = 5  # gradients in a row that are no numbers, after which a run ends: a few come of bad luck

Batch = dict[str, Tensor]
Parts = Mapping[str, float | Tensor]  # a tensor is read only when it is logged: on a GPU reading one means waiting


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast. `minutes` counts training time over all sessions of the run."""

    folder: Path
    minutes: float
    lr: float = 3e-4
    final_lr_share: float = 0.05
    warmup_steps: int = 100
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    precision: str = "no"  # "no" or "bf16", in accelerate's words
    weight_decay: float = 1e-4
    save_every_s: float = 60.0
    log_every_s: float = 30.0
    channels_last: bool = False  # faster in bf16; in fp32 torch 2.13 crashes on convolutions of a few channels
    leave_out: tuple[str, ...] = ()  # prefixes of parameters that other files hold already
    workers: int = 0  # processes that draw batches ahead of a GPU; 0: drawn between the steps
    find_unused: bool = False  # stage 1 leaves a few of ReferenceNet's last layers without a reader
    tells_progress: bool = False  # batches get `done` (1,): the share of the training that is over
    known: tuple[str, ...] | None = None  # digests of the weights file that the run replaces (see `result`)
    latents: str | None = None  # what the latents that it learns from were made with (see `origin`)
    cuda_graph: bool = False  # forward and backward are recorded once and replayed: for small networks on one GPU


def lr_share(counters: Counters, settings: LoopSettings) -> float:
    """Share of the peak learning rate: linear warm-up in steps, cosine decay in trained time."""
    warm = min(1.0, (counters.step + 1) / max(1, settings.warmup_steps))
    low = settings.final_lr_share
    return warm * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done_share(counters, settings))))


def done_share(counters: Counters, settings: LoopSettings) -> float:
    """Share of the training that is over, in trained time."""
    return min(1.0, counters.trained_s / max(1e-9, settings.minutes * 60))


def train(
    module: nn.Module,
    next_batch: Callable[[int, int], Batch],
    settings: LoopSettings,
    *,
    groups: Sequence[dict[str, Any]] | None = None,
    probe: Callable[[nn.Module], Parts] | None = None,
) -> Counters:
    """Train `module` until the time is used up; continue from the folder's checkpoint if there is one.

    `groups` are optimizer groups ({"params": [...], "lr_scale": x}); the default is every trainable parameter.
    `probe` is run on the main process at every log line and its numbers are logged too. At the end the module holds
    the moving average.
    """
    run = Run(module, settings, groups or [{"params": [p for p in module.parameters() if p.requires_grad]}])
    recent: list[Parts] = []
    batches = _batches(next_batch, run)
    last = logged = saved = time.monotonic()
    while run.counters.trained_s < settings.minutes * 60:
        recent.append(run.step(next(batches)))
        now = time.monotonic()
        run.tick(now - last)
        last = now
        if run.is_main and now - logged > settings.log_every_s:
            line = run.summary(recent) | {"steps_per_s": len(recent) / (now - logged)}
            _log_line(settings.folder / LOG, line | dict(probe(module) if probe else {}))
            recent, logged = [], time.monotonic()
        if now - saved > settings.save_every_s:
            run.save()
            saved = time.monotonic()
    run.finish()
    return run.counters


def _batches(next_batch: Callable[[int, int], Batch], run: Run) -> Iterator[Batch]:
    """The batches of this process from the run's next step on, in order, whoever draws them."""
    rank, first = run.accelerator.process_index, run.counters.step
    if run.settings.workers == 0:
        return (next_batch(step, rank) for step in itertools.count(first))
    ahead: DataLoader[Batch] = DataLoader(
        _Drawn(next_batch, rank),
        batch_size=None,
        sampler=_Steps(first),
        num_workers=run.settings.workers,
        pin_memory=run.accelerator.device.type == "cuda",
    )
    return iter(ahead)


@dataclass(frozen=True)
class _Drawn(Dataset[Batch]):
    """Batches by the number of their step, for a DataLoader's processes."""

    next_batch: Callable[[int, int], Batch]
    rank: int

    def __getitem__(self, step: int) -> Batch:
        torch.set_num_threads(1)
        return self.next_batch(step, self.rank)


@dataclass(frozen=True)
class _Steps(Sampler[int]):
    """Numbers of steps, without an end."""

    first: int

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first)


class Run:
    """One training run: the module under accelerate, its optimizer, its moving average and its counters."""

    def __init__(self, module: nn.Module, settings: LoopSettings, groups: Sequence[dict[str, Any]]) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs

        refuse_place(settings.folder / "checkpoint")
        self.module, self.settings = module, settings
        self.counters = Counters(known=settings.known, latents=settings.latents)
        self.accelerator = Accelerator(
            mixed_precision=settings.precision,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=settings.find_unused)],
        )
        checkpoint = find_checkpoint(settings.folder / "checkpoint")
        left_out = settings.leave_out or ("-",)
        wanted = [name for name, _ in module.named_parameters() if not name.startswith(left_out)]
        if checkpoint:
            module.load_state_dict(load_whole(checkpoint, "weights", module, wanted), strict=False)
        if settings.channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = [{"lr_scale": 1.0} | group for group in groups]
        optimizer = torch.optim.AdamW(
            groups, lr=settings.lr, betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=True
        )
        if checkpoint:
            load_moments(checkpoint, optimizer)
        self.wrapped, self.optimizer = self.accelerator.prepare(module, optimizer)
        self.kept = {name: p for name, p in module.named_parameters() if name in wanted}
        self.trained = {name: p for name, p in self.kept.items() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self.kept.items()}
        if checkpoint:
            self.counters = replace(load_counters(checkpoint), known=settings.known, latents=settings.latents)
            average = load_whole(checkpoint, "average", module, wanted)
            for name, value in average.items():
                if name in self.average:  # earlier versions kept what other files hold, too
                    self.average[name].copy_(value)  # keeps the memory layout, without which the update is slow
            log.info("continuing %s at step %d", settings.folder, self.counters.step)
        with explain_unwritable(settings.folder):
            settings.folder.mkdir(parents=True, exist_ok=True)
            refuse_folder(settings.folder / LOG)
        on_gpu = self.accelerator.device.type == "cuda"
        self._ahead = torch.cuda.Event() if on_gpu else None  # the step before is done
        self._lost = torch.zeros((), dtype=torch.int64, device=self.accelerator.device)
        alone = on_gpu and self.accelerator.num_processes == 1
        self._recorded = RecordedStep(self._gradients) if settings.cuda_graph and alone else None

    @property
    def is_main(self) -> bool:
        return bool(self.accelerator.is_main_process)

    def step(self, drawn: Batch) -> Parts:
        """One optimizer step on a batch; gives what is to be logged."""
        share, accelerator = lr_share(self.counters, self.settings), self.accelerator
        if self.settings.tells_progress:
            drawn = {**drawn, "done": torch.tensor([done_share(self.counters, self.settings)])}
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * share * group["lr_scale"]
        moved = {name: value.to(accelerator.device, non_blocking=True) for name, value in drawn.items()}
        if self._ahead is not None:
            self._ahead.synchronize()  # or the clock would count steps that are only queued
        if self._recorded is None:
            self.optimizer.zero_grad(set_to_none=True)
            parts = self._gradients(moved)
        else:
            parts = self._recorded(moved, self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = accelerator.clip_grad_norm_(parameters, self.settings.clip_norm)
        self._lost = _lost(norm, parameters, self._lost)
        self.optimizer.step()
        decay = min(self.settings.ema_decay, (self.counters.step + 1) / (self.counters.step + 10))
        _update_average(self.average, self.trained, decay)
        if self._ahead is not None:
            self._ahead.record()
        return {"grad_norm": norm, **parts}

    def _gradients(self, batch: Batch) -> Parts:
        """Forward and backward of a batch on the device."""
        with self.accelerator.autocast():
            loss, parts = self.wrapped(batch)
        self.accelerator.backward(loss)
        return {"loss": loss.detach(), **parts}

    def tick(self, seconds: float) -> None:
        """Count the step; all processes agree on the time, so that they leave the loop at the same step."""
        self.counters.step += 1
        self.counters.trained_s += seconds
        if self.accelerator.num_processes > 1:
            clock = torch.tensor([self.counters.trained_s], device=self.accelerator.device, dtype=torch.float64)
            self.counters.trained_s = float(self.accelerator.reduce(clock, reduction="mean"))

    def summary(self, recent: Sequence[Parts]) -> dict[str, Any]:
        line: dict[str, Any] = {"step": self.counters.step, "trained_s": round(self.counters.trained_s, 1)}
        line["lr"] = self.settings.lr * lr_share(self.counters, self.settings)
        return line | {name: sum(float(r[name]) for r in recent) / len(recent) for name in recent[-1]}

    def save(self) -> None:
        if self.is_main:
            folder, counters = self.settings.folder / "checkpoint", self.counters
            wrong = None
            if int(self._lost) >= LOST:
                wrong = f"{int(self._lost)} gradients in a row that are no numbers"
            if not all(bool(value.isfinite().all()) for value in self.trained.values()):
                wrong = "weights that are no numbers any more"
            if wrong is not None:
                kept = f"{shown(folder)} is kept as it was before. " if folder.exists() else ""
                found = f"{wrong}, at step {counters.step}"
                raise EmoInputError("training", found, "finite ones", f"{kept}Try a smaller --lr.")
            save_checkpoint(folder, self.kept, average=self.average, optimizer=self.optimizer, counters=counters)

    @torch.no_grad()
    def finish(self) -> None:
        """Save, and leave the moving average in the module."""
        self.save()
        self.accelerator.wait_for_everyone()
        for name, parameter in self.trained.items():
            parameter.copy_(self.average[name])


class RecordedStep:
    """Forward and backward as one CUDA graph for each shape of batch, in place of thousands of small kernels that are
    launched one by one. Exact: the same kernels on the same numbers."""

    WARM = 3  # steps that run as they are, so that libraries have chosen their kernels

    def __init__(self, gradients: Callable[[Batch], Parts]) -> None:
        self._gradients = gradients
        self._steps: dict[object, int] = {}
        self._graphs: dict[object, tuple[Callable[[], object], Batch, Parts, list[Tensor | None]]] = {}

    def __call__(self, batch: Batch, optimizer: torch.optim.Optimizer) -> Parts:
        """The batch's gradients in the parameters."""
        key = tuple((name, value.shape, value.dtype) for name, value in sorted(batch.items()))
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        steps = self._steps[key] = self._steps.get(key, 0) + 1
        if steps <= self.WARM:
            optimizer.zero_grad(set_to_none=True)
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                parts = self._gradients(batch)
            torch.cuda.current_stream().wait_stream(side)
            return parts
        if key not in self._graphs:
            optimizer.zero_grad(set_to_none=True)
            static = {name: value.clone() for name, value in batch.items()}
            replay, parts = Recorder().record(lambda: self._gradients(static))
            self._graphs[key] = (replay, static, parts, [p.grad for p in parameters])
        replay, static, parts, gradients = self._graphs[key]
        for name, value in batch.items():
            static[name].copy_(value, non_blocking=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        replay()
        return {name: value.clone() if isinstance(value, Tensor) else value for name, value in parts.items()}


@torch.no_grad()
def _lost(norm: Tensor, parameters: Sequence[Tensor], before: Tensor) -> Tensor:
    """How many gradients in a row were no numbers, after one of this norm; `before` it. Such a one becomes 0, on every
    process alike, or a single batch would end the run."""
    wrong = ~norm.isfinite()
    if norm.device.type != "cpu" or bool(wrong):  # on a GPU asking would mean waiting
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(wrong, 0.0)
    return (before + 1) * wrong


@torch.no_grad()
def _update_average(average: Batch, trained: dict[str, nn.Parameter], decay: float) -> None:
    torch._foreach_lerp_([average[n] for n in trained], [p.detach() for p in trained.values()], 1 - decay)


def _log_line(path: Path, line: dict[str, Any]) -> None:
    text = json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in line.items()})
    log.info("%s", text)
    with explain_unwritable(path), path.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
