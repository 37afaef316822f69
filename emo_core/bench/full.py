"""The full-size network measured on a card, piece by piece: the plain algorithm, the product and the compiled product
in the same turns; the product with few steps and no guidance, against real time; what of the time the card stands idle;
what ReferenceNet takes from the second clip on.

In: a case of one clip (`cases.full_case`). Out: one record for each piece, with a text. Targets are those of a card and
are printed there only; elsewhere (a small config on a CPU) the pieces are the same.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..data import GenerateSettings
from ..pipeline.graphs import Graphs
from ..pipeline.placement import device_of, dtype_of
from .cases import Case, case_of
from .measure import (
    Timing,
    in_turns,
    kernel_seconds,
    matrix_rate,
    operations,
    synchronise,
    timed,
    watched_calls,
)
from .plain import PlainBackbone, plain_backbone, plain_generate

log = logging.getLogger(__name__)

FAST = GenerateSettings(steps=6, guidance=1.0)
EXACT_TARGET, COMPILED_TARGET = 1.2, 1.5  # times as fast as the plain algorithm
RATE_TARGET = 0.45  # of the rate of a matrix product
FAST_TARGET, FPS_TARGET = 8.0, 25.0  # `FAST` against the plain algorithm at its own steps, with guidance
IDLE_TARGET = 0.05
REFERENCE_TARGET, FAST_REFERENCE_TARGET = 0.01, 0.05


@dataclass(frozen=True)
class Turns:
    """One clip with guidance. `difference` is the largest of any pixel (0..1) from the plain pictures; `*_tflop` 1e12
    operations a clip; rates in operations a second; `compile_s` the run in which the graphs are built."""

    frames: int
    steps: int
    dtype: str
    difference: float
    plain: Timing
    product: Timing
    plain_tflop: float
    product_tflop: float
    matrix_rate: float
    compiled: Timing | None = None
    compiled_difference: float | None = None
    compile_s: float | None = None
    compile_error: str | None = None

    @property
    def ratio(self) -> float:
        return self.plain.median / self.product.median

    @property
    def share_of_matrix_rate(self) -> float:
        return self.product_tflop * 1e12 / self.product.median / self.matrix_rate

    def as_text(self, *, on_card: bool) -> str:
        lines = [
            f"full: {self.frames} frames, {self.steps} steps, guidance, {self.dtype};"
            f" {self.plain_tflop:.2f} -> {self.product_tflop:.2f} TFLOP",
            f"  A  plain    {self.plain.as_text()} s",
            f"  B  product  {self.product.as_text()} s, {self.ratio:.2f}x{_target(EXACT_TARGET, on_card)},"
            f" largest difference {self.difference:.1e}",
        ]
        if self.compiled is not None and self.compiled_difference is not None and self.compile_s is not None:
            lines.append(
                f"  B' compiled {self.compiled.as_text()} s,"
                f" {self.plain.median / self.compiled.median:.2f}x{_target(COMPILED_TARGET, on_card)},"
                f" largest difference {self.compiled_difference:.1e}, built in {self.compile_s:.0f} s"
            )
        if self.compile_error is not None:
            lines.append(f"  B' compiled failed: {self.compile_error}")
        lines.append(
            f"  matrix product {self.matrix_rate / 1e12:.3g} TFLOP/s, product"
            f" {self.share_of_matrix_rate:.0%} of it{_target(RATE_TARGET, on_card, percent=True)}"
        )
        return "\n".join(lines)


@dataclass(frozen=True)
class Fast:
    """One clip with the settings `FAST`, the portrait encoded before, decoding included. `plain_s`: the plain algorithm
    at its own steps with guidance, where that was measured."""

    frames: int
    steps: int
    product: Timing
    compiled: Timing | None
    plain_s: float | None

    def as_text(self, *, on_card: bool) -> str:
        lines = [f"fast: {self.frames} frames, {self.steps} steps, no guidance"]
        for name, times in (("product", self.product), ("compiled", self.compiled)):
            if times is not None:
                line = f"  {name:<8} {times.as_text()} s, {self.frames / times.median:.2f} frames a second"
                line += f" (target {FPS_TARGET:g})" if on_card else ""
                if self.plain_s is not None:
                    line += f", {self.plain_s / times.median:.2f}x plain{_target(FAST_TARGET, on_card)}"
                lines.append(line)
        return "\n".join(lines)


@dataclass(frozen=True)
class Idle:
    """Seconds of one run (median, not profiled) and of the card's own work in it; None without a card."""

    name: str
    seconds: float
    kernels_s: float | None

    @property
    def outside(self) -> float | None:
        """The share of the time in which the card did nothing."""
        return None if self.kernels_s is None else 1 - self.kernels_s / self.seconds

    def as_text(self, *, on_card: bool) -> str:
        if self.outside is None:
            return f"idle: {self.name} {self.seconds:.2f} s, no card whose work could be told"
        return (
            f"idle: {self.name} {self.seconds:.3f} s, the card at work {self.kernels_s:.3f} s:"
            f" {self.outside:.1%} outside it{_target(IDLE_TARGET, on_card, percent=True)}"
        )


@dataclass(frozen=True)
class ReferenceShare:
    """Seconds of a video's second clip with `FAST` and of ReferenceNet in it; ReferenceNet's in a clip with guidance,
    where it runs twice, against a whole clip with guidance (`guided_clip_s`, None where not measured)."""

    fast_clip_s: float
    fast_reference_s: float
    guided_reference_s: float
    guided_clip_s: float | None

    def as_text(self, *, on_card: bool) -> str:
        fast = self.fast_reference_s / self.fast_clip_s
        text = (
            f"ReferenceNet in the second clip: {self.fast_reference_s:.3f} of {self.fast_clip_s:.3f} s, {fast:.1%}"
            f"{_target(FAST_REFERENCE_TARGET, on_card, percent=True)}, with {FAST.steps} steps and no guidance"
        )
        if self.guided_clip_s is not None:
            share = self.guided_reference_s / self.guided_clip_s
            text += (
                f"; {self.guided_reference_s:.3f} of {self.guided_clip_s:.3f} s, {share:.1%}"
                f"{_target(REFERENCE_TARGET, on_card, percent=True)}, with guidance (of the clip that was timed)"
            )
        return text


def _target(value: float, on_card: bool, *, percent: bool = False) -> str:
    return f" (target {value:.0%})" if percent and on_card else f" (target {value:.2f}x)" if on_card else ""


class Clip:
    """A case as things to run; `made` holds the last pictures of each by name. `twin`: the case compiled. With `graphs`
    steps are recorded in the warm runs and kept, as they are within a video from its second clip on."""

    def __init__(self, case: Case, twin: Case | None = None, *, graphs: bool = False) -> None:
        self.case, self.twin = case, twin
        self._graphs = Graphs() if graphs else None
        self._twin_graphs = Graphs() if graphs else None
        self.made: dict[str, Tensor] = {}
        self.compile_error: str | None = None
        self._backbone: PlainBackbone | None = None

    @property
    def frames(self) -> int:
        return self.case.audio.frames

    @property
    def steps(self) -> int:
        return self.case.settings.steps or self.case.model.config.clip.steps

    def plain(self, settings: GenerateSettings | None = None) -> None:
        """The plain algorithm on the whole clip."""
        case = self.case
        if self._backbone is None:
            self._backbone = plain_backbone(case.model.backbone)
        settings = settings or case.settings
        clips = plain_generate(
            case.model, self._backbone, case.portrait, case.audio, controls=case.controls, settings=settings
        )
        self.made["plain"] = torch.cat(list(clips))

    def product(self, settings: GenerateSettings | None = None, *, replayed: bool = True) -> None:
        """The product, the portrait's encoding included; not `replayed`: every step is run, so that all are counted."""
        self.made["product"] = _pictures(self.case, settings, self._graphs if replayed else None)

    def compiled(self, settings: GenerateSettings | None = None) -> None:
        """The compiled product; only where there is one."""
        assert self.twin is not None
        self.made["compiled"] = _pictures(self.twin, settings, self._twin_graphs)

    def fast(self) -> Callable[[], object]:
        """A clip with `FAST` by the product; the portrait is encoded here and now."""
        return _after_reference(self.case, FAST, self._graphs)

    def fast_compiled(self) -> Callable[[], object]:
        """The same by the compiled product."""
        assert self.twin is not None
        return _after_reference(self.twin, FAST, self._twin_graphs)

    def build(self, work: Callable[[], object]) -> float | None:
        """Seconds of the first run of compiled work. Where that fails it is told, and there is no twin any more."""
        try:
            seconds = timed(work)
        except Exception as error:
            log.exception("compiling failed")
            self.compile_error = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.twin = None
            return None
        log.info("compiled: built in %.1f s", seconds)
        return seconds

    def difference(self, name: str) -> float:
        return float((self.made[name] - self.made["plain"]).abs().max())


def _pictures(case: Case, settings: GenerateSettings | None, graphs: Graphs | None) -> Tensor:
    from ..pipeline.generate import generate
    from ..pipeline.reference import encode_reference

    reference = encode_reference(case.model, case.portrait)
    clips = generate(case.model, reference, case.audio, case.controls, settings or case.settings, graphs=graphs)
    return torch.cat([clip.frames for clip in clips])


def _in_steps(settings: GenerateSettings, steps: int) -> GenerateSettings:
    return dataclasses.replace(settings, steps=steps)


def measure_turns(clip: Clip, turns: int) -> Turns:
    """A, B and, where there is a compiled twin, B' in the same turns, after a warm run of two steps each."""
    case, once = clip.case, _in_steps(clip.case.settings, 2)  # the second step is recorded
    weights = case.model.backbone
    device, dtype = device_of(weights), dtype_of(weights)
    log.info("warm: plain %.1f s, product %.1f s", timed(lambda: clip.plain(once)), timed(lambda: clip.product(once)))
    compile_s = None
    if clip.twin is not None:
        compile_s = clip.build(lambda: clip.compiled(once))
    rate = matrix_rate(device, dtype, size=8192 if device.type == "cuda" else 512)
    counted = (clip.plain, partial(clip.product, replayed=False))
    tflop = [_operations_of(run, case.settings, clip.steps) / 1e12 for run in counted]
    log.info("matrix product %.3g TFLOP/s; a clip %.1f TFLOP plain, %.1f product", rate / 1e12, *tflop)
    works: dict[str, Callable[[], object]] = {"plain": clip.plain, "product": clip.product}
    if clip.twin is not None:
        works["compiled"] = clip.compiled
    times = in_turns(works, turns)
    return Turns(
        frames=clip.frames,
        steps=clip.steps,
        dtype=str(dtype).removeprefix("torch."),
        difference=clip.difference("product"),
        plain=times["plain"],
        product=times["product"],
        plain_tflop=tflop[0],
        product_tflop=tflop[1],
        matrix_rate=rate,
        compiled=times.get("compiled"),
        compiled_difference=None if clip.twin is None else clip.difference("compiled"),
        compile_s=compile_s,
        compile_error=clip.compile_error,
    )


def _operations_of(run: Callable[[GenerateSettings], None], settings: GenerateSettings, steps: int) -> float:
    """Of a clip of so many steps, all of which are alike: counted in one and in two, for counting takes long."""
    one, two = (operations(partial(run, _in_steps(settings, count))) for count in (1, 2))
    return one + (steps - 1) * (two - one)


def _after_reference(case: Case, settings: GenerateSettings, graphs: Graphs | None) -> Callable[[], object]:
    """Generates a clip to its pictures; the portrait is encoded here and now."""
    from ..pipeline.generate import generate
    from ..pipeline.reference import encode_reference

    reference = encode_reference(case.model, case.portrait)
    given = (case.model, reference, case.audio, case.controls, settings)
    return lambda: [len(clip.frames) for clip in generate(*given, graphs=graphs)]


def measure_fast(clip: Clip, turns: int, *, plain_s: float | None) -> Fast:
    """`FAST`, and compiled in the same turns where there is a compiled twin."""
    works = {"fast": clip.fast()}
    log.info("warm: fast %.1f s", timed(works["fast"]))
    if clip.twin is not None:
        compiled = clip.fast_compiled()
        if clip.build(compiled) is not None:
            works["fast compiled"] = compiled
    times = in_turns(works, turns)
    assert FAST.steps is not None
    return Fast(clip.frames, FAST.steps, times["fast"], times.get("fast compiled"), plain_s)


def measure_idle(clip: Clip, fast: Fast | None, turns: Turns | None) -> list[Idle]:
    """The card's own work in one more run of each that was timed before."""
    rows = []
    if fast is not None:
        rows.append(Idle("fast", fast.product.median, kernel_seconds(clip.fast())))
        if clip.twin is not None and fast.compiled is not None:
            seconds = kernel_seconds(clip.fast_compiled())
            rows.append(Idle("fast compiled", fast.compiled.median, seconds))
    if turns is not None:
        rows.append(Idle(f"{turns.steps} steps", turns.product.median, kernel_seconds(clip.product)))
        if clip.twin is not None and turns.compiled is not None:
            rows.append(Idle(f"{turns.steps} steps compiled", turns.compiled.median, kernel_seconds(clip.compiled)))
    return rows


def measure_reference(clip: Clip, *, guided_clip_s: float | None) -> ReferenceShare:
    """A video of two clips with `FAST`, one of one step with guidance: what ReferenceNet takes in the second clip."""
    two = case_of(clip.case.name, clip.case.model, clips=2, settings=FAST)
    fast_clip_s, fast_reference_s = _second_clip(two)
    guided = dataclasses.replace(two, settings=_in_steps(clip.case.settings, 1))
    return ReferenceShare(fast_clip_s, fast_reference_s, _second_clip(guided)[1], guided_clip_s)


def _second_clip(case: Case) -> tuple[float, float]:
    """Seconds of the second clip and of ReferenceNet in it; the first warms what is needed."""
    from ..pipeline.generate import generate
    from ..pipeline.reference import encode_reference

    reference = encode_reference(case.model, case.portrait)
    clips = generate(case.model, reference, case.audio, case.controls, case.settings)
    next(clips)
    synchronise()
    with watched_calls(case.model.reference_net, "encode_motion") as inside:
        whole = timed(lambda: next(clips))
    clips.close()  # type: ignore[attr-defined]
    return whole, inside.seconds
