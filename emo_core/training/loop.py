"""The training loop under every stage: accelerate, a time budget, warm-up and decay, clipping, EMA, checkpoints, a log.

A stage is a module whose forward turns a batch into (loss, parts to log), and a function from (step, rank) to a batch.
One process per core with one thread each is the fastest on a CPU; the same code runs on one GPU or under
`accelerate launch` on many.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoint import Counters, find_checkpoint, load_counters, load_moments, load_shards, save_checkpoint

log = logging.getLogger(__name__)

Batch = dict[str, Tensor]
Parts = dict[str, float]


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
    channels_last: bool = True
    leave_out: tuple[str, ...] = ()  # prefixes of parameters that other files hold already
    find_unused: bool = False  # stage 1 leaves a few of ReferenceNet's last layers without a reader


def lr_share(counters: Counters, settings: LoopSettings) -> float:
    """Share of the peak learning rate: linear warm-up in steps, cosine decay in trained time."""
    warm = min(1.0, (counters.step + 1) / max(1, settings.warmup_steps))
    done = min(1.0, counters.trained_s / max(1e-9, settings.minutes * 60))
    low = settings.final_lr_share
    return warm * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done)))


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
    `probe` is run on the main process at every log line and its numbers are logged too.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs

    accelerator = Accelerator(
        mixed_precision=settings.precision,
        cpu=not torch.cuda.is_available(),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=settings.find_unused)],
    )
    counters = Counters()
    groups = groups or [{"params": [p for p in module.parameters() if p.requires_grad]}]
    for group in groups:
        group["lr_scale"] = group.get("lr_scale", 1.0)
    optimizer = torch.optim.AdamW(
        groups, lr=settings.lr, betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=True
    )
    if settings.channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kept = {name: p for name, p in module.named_parameters() if not name.startswith(settings.leave_out or ("-",))}
    trained = {name: p for name, p in kept.items() if p.requires_grad}
    average = {name: p.detach().clone() for name, p in kept.items()}
    checkpoint = find_checkpoint(settings.folder / "checkpoint")
    if checkpoint:
        counters = load_counters(checkpoint)
        module.load_state_dict(load_shards(checkpoint, "weights"), strict=False)
        for name, value in load_shards(checkpoint, "average").items():
            average[name].copy_(value)  # keeps the memory layout, without which the update is slow
        load_moments(checkpoint, optimizer)
        log.info("continuing %s at step %d", settings.folder, counters.step)
    wrapped, optimizer = accelerator.prepare(module, optimizer)
    settings.folder.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        if accelerator.is_main_process:
            save_checkpoint(
                settings.folder / "checkpoint", kept, average=average, optimizer=optimizer, counters=counters
            )

    recent: list[Parts] = []
    last = logged = saved = time.monotonic()
    while counters.trained_s < settings.minutes * 60:
        share = lr_share(counters, settings)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * share * group["lr_scale"]
        batch = {k: v.to(accelerator.device) for k, v in next_batch(counters.step, accelerator.process_index).items()}
        with accelerator.autocast():
            loss, parts = wrapped(batch)
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], settings.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _update_average(average, trained, min(settings.ema_decay, (counters.step + 1) / (counters.step + 10)))
        recent.append({"loss": float(loss.detach()), "grad_norm": float(norm), **parts})
        now = time.monotonic()
        counters.step, counters.trained_s, last = counters.step + 1, counters.trained_s + now - last, now
        counters.trained_s = _agree(accelerator, counters.trained_s)
        if accelerator.is_main_process and now - logged > settings.log_every_s:
            line = {"step": counters.step, "trained_s": round(counters.trained_s, 1), "lr": settings.lr * share}
            line.update({k: sum(r[k] for r in recent) / len(recent) for k in recent[-1]})
            line["steps_per_s"] = len(recent) / (now - logged)
            _log_line(settings.folder / "log.jsonl", line | (probe(module) if probe else {}))
            recent, logged = [], time.monotonic()
        if now - saved > settings.save_every_s:
            save()
            saved = time.monotonic()
    save()
    accelerator.wait_for_everyone()
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(average[name])
    return counters


def _agree(accelerator: Any, trained_s: float) -> float:
    """The slowest process's clock, so that all leave the loop at the same step."""
    if accelerator.num_processes == 1:
        return trained_s
    clock = torch.tensor([trained_s], device=accelerator.device, dtype=torch.float64)
    return float(accelerator.reduce(clock, reduction="mean"))


@torch.no_grad()
def _update_average(average: Batch, trained: dict[str, nn.Parameter], decay: float) -> None:
    torch._foreach_lerp_([average[n] for n in trained], [p.detach() for p in trained.values()], 1 - decay)


def _log_line(path: Path, line: dict[str, Any]) -> None:
    text = json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in line.items()})
    log.info("%s", text)
    with path.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
