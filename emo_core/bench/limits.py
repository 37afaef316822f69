"""The full-size network on a smaller card: torch is held to a share of the card's memory, the weights wait in main
memory, and `offload auto` decides what comes when.

In: a case whose model lies in main memory, limits in GiB. Out: for no limit and for each limit the measure that was
chosen, its estimate beside the peak that was measured, and seconds a clip. One video of several clips is made under
each: the first clip warms and pays for counting and page-locking, the later ones are timed.
"""

from __future__ import annotations

import gc
import itertools
import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

import torch

from ..data import ReferenceCache
from ..errors import EmoInputError
from ..pipeline.offload import Offload
from .cases import Case, case_of
from .measure import synchronise

log = logging.getLogger(__name__)

GIB = 2**30
TARGETS = {8.0: 1.15, 6.0: 1.6}  # GiB -> times as long as without a limit
ESTIMATE_TARGET = 0.15
TIMED_CLIPS = 3


class Card:
    """The memory of a CUDA device; tests put another in its place."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.index = torch.cuda.current_device() if device.index is None else device.index

    def hold_to(self, limit_gib: float | None) -> None:
        """Let torch take so much from now on, contexts and libraries of the driver aside; None: all there is."""
        gc.collect()
        torch.cuda.empty_cache()
        total = torch.cuda.mem_get_info(self.index)[1]
        share = 1.0 if limit_gib is None else min(1.0, limit_gib * GIB / total)
        torch.cuda.set_per_process_memory_fraction(share, self.index)

    def forget_peaks(self) -> None:
        synchronise()
        torch.cuda.reset_peak_memory_stats(self.index)

    def peaks(self) -> tuple[int, int]:
        """Bytes since `forget_peaks`: the most in tensors, the most that torch had from the driver."""
        return torch.cuda.max_memory_allocated(self.index), torch.cuda.max_memory_reserved(self.index)


@dataclass(frozen=True)
class Limited:
    """What became of one limit (GiB; None: none). Bytes; seconds of the first clip and of each later one. `error`:
    why there is nothing else."""

    limit_gib: float | None
    mode: str = ""
    one_row_per_pass: bool = False
    decode_chunk: int = 0
    estimate: int | None = None
    allocated: int = 0
    reserved: int = 0
    plan_s: float = 0.0
    first_s: float = 0.0
    clips_s: tuple[float, ...] = ()
    error: str | None = None

    @property
    def seconds(self) -> float | None:
        """The median of the clips after the first."""
        return median(self.clips_s) if self.clips_s else None


def measure_limits(
    case: Case, limits_gib: Sequence[float], *, device: torch.device, card: Card | None = None, clips: int = TIMED_CLIPS
) -> list[Limited]:
    """First without a limit, then under each. `case.model` lies in main memory, and does so afterwards. Raises
    EmoInputError where there is no CUDA device."""
    if card is None:
        card = _card(device)
    case = case_of(case.name, case.model, clips=1 + clips, settings=case.settings)
    offload = Offload("auto", device)
    rows: list[Limited] = []
    try:
        card.hold_to(None)
        reference = _reference(case, offload)
        for limit in (None, *limits_gib):
            rows.append(_limited(case, reference, limit, offload=offload, card=card))
            log.info("%s", limits_row(rows[-1], rows[0]))
    finally:
        card.hold_to(None)
    return rows


def _card(device: torch.device) -> Card:
    if device.type != "cuda" or not torch.cuda.is_available():
        raise EmoInputError("limits", f"the device {device}", "a CUDA device, whose memory torch can be held to")
    return Card(device)


def _reference(case: Case, offload: Offload) -> ReferenceCache:
    from ..pipeline.reference import encode_reference

    return encode_reference(case.model, case.portrait, offload=offload)


def _limited(case: Case, reference: ReferenceCache, limit: float | None, *, offload: Offload, card: Card) -> Limited:
    """One limit; what fails is told and does not stop the next."""
    try:
        card.hold_to(limit)
        return _measured(case, reference, limit, offload=offload, card=card)
    except Exception as error:
        log.error("limit %s: %s", limit, error, exc_info=not isinstance(error, EmoInputError))
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return Limited(limit, error=f"{said}")


def _measured(case: Case, reference: ReferenceCache, limit: float | None, *, offload: Offload, card: Card) -> Limited:
    from ..pipeline.generate import generate, memory_plan

    began = time.perf_counter()
    given = (case.model, reference, case.audio, case.controls, case.settings)
    plan = memory_plan(*given, offload=offload)
    plan_s = time.perf_counter() - began
    log.info("limit %s: %s, %s, counted in %.1f s", limit, plan.mode, plan.thrift, plan_s)
    card.forget_peaks()
    seconds: list[float] = []
    with closing(cast(Any, generate(*given, offload=offload))) as clips:
        for number in itertools.count():
            synchronise()
            began = time.perf_counter()
            if next(clips, None) is None:
                break
            synchronise()
            seconds.append(time.perf_counter() - began)
            log.info("limit %s: clip %d %.2f s", limit, number, seconds[-1])
    allocated, reserved = card.peaks()
    return Limited(
        limit_gib=limit,
        mode=plan.mode,
        one_row_per_pass=plan.thrift.one_row_per_pass,
        decode_chunk=plan.thrift.decode_chunk,
        estimate=plan.needed,
        allocated=allocated,
        reserved=reserved,
        plan_s=plan_s,
        first_s=seconds[0],
        clips_s=tuple(seconds[1:]),
    )


def limits_table(rows: Sequence[Limited]) -> str:
    """One line each, against the first, which has no limit."""
    head = "limit GB  offload  rows  decode  estimate  allocated  reserved  estimate/peak  first s  clip s  ratio"
    return "\n".join([head, *(limits_row(row, rows[0]) for row in rows)])


def limits_row(row: Limited, free: Limited) -> str:
    """A limit beside no limit."""
    limit = "none" if row.limit_gib is None else f"{row.limit_gib:g}"
    if row.error is not None or row.seconds is None:
        return f"{limit:>8}  {row.error or 'no clip to time'}"
    estimate = 0 if row.estimate is None else row.estimate
    share = estimate / row.allocated if row.allocated else float("nan")
    ratio = "" if free.seconds is None else f"{row.seconds / free.seconds:.2f}x"
    target = TARGETS.get(row.limit_gib or 0.0)
    return (
        f"{limit:>8}  {row.mode:<7} {'one' if row.one_row_per_pass else 'all':>5} {row.decode_chunk:>7}"
        f" {estimate / GIB:>9.2f} {row.allocated / GIB:>10.2f} {row.reserved / GIB:>9.2f}"
        f" {share:>7.2f} (±{ESTIMATE_TARGET:.2f}) {row.first_s:>8.2f} {row.seconds:>7.2f} {ratio:>6}"
        f"{'' if target is None else f' (target {target:.2f}x)'}"
    )
