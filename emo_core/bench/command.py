"""`python -m emo_core bench`: the product against the plain algorithm, in one process. In: options. Out: a table, JSON.

Every comparison first checks that both give the same pictures; a speed-up that changes them is not printed as one.
"""

from __future__ import annotations

import argparse
import logging
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from ..errors import EmoInputError
from ..files import expanded, output_named, shown
from ..pipeline.graphs import Graphs
from ..weights.build import usable_device
from ..weights.locate import resolve
from .approximate import savings, savings_table
from .cases import Case, compiled_case, full_case, middle_case, mini_case
from .figures import refuse_output, write_figures
from .full import Clip, Fast, Turns, measure_fast, measure_idle, measure_reference, measure_turns
from .limits import limits_table, measure_limits
from .measure import matrix_rate, operations, peak_rss, spread_text, timed, versus, watched
from .memory import footprint
from .needs import all_needs, needs_table
from .peer import SIZES, measure_peer
from .plain import plain_backbone, plain_generate
from .released import measure_released, write_hallo
from .server import check_server, overhead
from .soak import soak

log = logging.getLogger(__name__)
T = TypeVar("T")

CASES: dict[str, Callable[..., Case]] = {"emo-mini": mini_case, "middle": middle_case}
TARGETS = {"emo-mini": 1.05, "middle": 1.2}  # times faster than the plain algorithm, on a CPU (issue "The engine")
FULL = "full"  # a case of its own kind: see full
EQUAL = 1e-4  # largest difference of any pixel (0..1) over the whole run, in float32


@dataclass(frozen=True)
class Compiled:
    """The product with compiled blocks, in turns with the product as it is; `first_s`: the run in which they are built.
    `difference` is from the plain algorithm's pictures."""

    difference: float
    first_s: float
    seconds: float
    spread_s: tuple[float, float]
    ratio: float


@dataclass(frozen=True)
class Line:
    """One case measured. Seconds are medians with their 10th and 90th percentile; rates in 1e9 operations a second."""

    case: str
    frames: int
    steps: int
    difference: float
    plain_s: float
    plain_spread_s: tuple[float, float]
    product_s: float
    product_spread_s: tuple[float, float]
    ratio: float
    plain_gflop: float
    product_gflop: float
    rate: float
    matrix_rate: float
    outside_network: float  # share of the product's time
    peak_rss_mib: float
    compiled: Compiled | None = None

    @property
    def is_exact(self) -> bool:
        return self.difference <= EQUAL and (self.compiled is None or self.compiled.difference <= EQUAL)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emo_core bench",
        description="Measure speed and memory against the plain algorithm, in one process.",
    )
    add = parser.add_argument
    add("--cases", default="emo-mini", help=f"of {','.join([*CASES, FULL])} (emo-mini)")
    add("--turns", type=int, default=7, help="runs of each, in turns (7)")
    add("--compile", action="store_true", help="also the product with its blocks compiled by torch.compile (B')")
    add("--cuda-graphs", action="store_true", help="the product (B, B') with its steps recorded as CUDA graphs")
    add("--approximate", action="store_true", help="also what each approximation saves, against the product as it is")
    add("--memory", action="store_true", help="also the memory of a long sound against a short one")
    add("--needs", action="store_true", help="only this: what a clip takes on a device, counted, at several sizes")
    add("--short-s", type=float, default=10.0, help="seconds of the short sound (10)")
    add("--long-s", type=float, default=300.0, help="seconds of the long sound (300)")
    add("--server", metavar="URL", help="also what the graph costs on top, in a running ComfyUI that has this pack")
    add("--soak", type=float, metavar="HOURS", help="only this: so much sound to a file, memory sampled and plotted")
    add(
        "--write-released",
        metavar="FOLDER",
        type=output_named,
        help="only write random files of Hallo's size and names",
    )
    add("--released", metavar="PATH", type=expanded, help="only load released files, make one clip, tell the memory")
    add(
        "--dtype",
        choices=("float16", "bfloat16", "float32"),
        help="of the two above, --needs, --limits, the case full (float16), of --peer (float16 on CUDA, else float32)",
    )
    steps = "of the clip with --released (0: only load) or --peer (2), of the case full (40), of --limits (10)"
    add("--steps", type=int, help=steps)
    peer = "only this: a released system's own code, your checkout of it, in turns with ours on the same weights and"
    add("--peer", metavar="PATH", type=expanded, help=f"{peer} input; of Hallo, not yet of EchoMimic and V-Express")
    add("--peer-size", choices=SIZES, help="of its networks: small, or full as released (full on CUDA, else small)")
    limits = "only this: the full size with its weights in main memory, without a limit and then with CUDA held to each"
    add("--limits", metavar="GB,GB", help=f"{limits} (such as 8,6)")
    add("--device", help="cpu, cuda, mps (cuda where there is one)")
    add(
        "--output",
        type=output_named,
        help="also write the figures to this JSON file; of --soak: its folder (output/soak)",
    )
    add("--overwrite", action="store_true", help="replace a file that is there, also one that the bench did not write")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit status: 1 where the product's pictures differ from the plain ones', and where
    a section failed."""
    options = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    _refuse_impossible(options)
    device = usable_device(options.device)
    if options.output and not options.soak:
        inputs = {"checkpoint": options.released, "checkout": options.peer}
        refuse_output(options.output, inputs, overwrite=options.overwrite)
    if options.write_released or options.released:
        return _released(options)
    if options.needs:
        return _needs(options)
    if options.peer:
        return _peer(options, device)
    if options.soak:
        watched_run = soak(options.output or Path("output/soak"), sound_s=options.soak * 3600, device=device)
        sys.stdout.write(f"{machine(device)}\n{watched_run.as_text()}\n")
        return 0
    sections = Sections(options.output, device)
    if options.limits is not None:
        _limits(options, device, sections)
    else:
        _cases(options, device, sections)
    return 1 if sections.failed else 0


def _refuse_impossible(options: argparse.Namespace) -> None:
    """Raises EmoInputError for numbers and an address with which nothing can be measured, before anything is."""
    for name, least in (("turns", 1), ("steps", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise EmoInputError(name, f"{value}", f"at least {least}")
    for name in ("short_s", "long_s", "soak"):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise EmoInputError(name.replace("_", "-"), f"{value}", "a number above 0")
    if options.output is not None and options.write_released is not None:
        found = f"{shown(options.output)} with --write-released, which measures nothing"
        raise EmoInputError("output", found, "none")
    if options.server is not None and not options.server.startswith(("http://", "https://")):
        raise EmoInputError("server", repr(options.server), "an address such as http://127.0.0.1:8188")
    if options.released is not None:
        resolve(options.released)
    elif options.server is not None:
        check_server(options.server)


class Sections:
    """What the command does, one after the other: each is printed and written as soon as it is finished, and one that
    fails is told and does not stop the next."""

    def __init__(self, output: Path | None, device: torch.device) -> None:
        self.failed = False
        self.figures: dict[str, Any] = {"machine": machine(device), "cases": [], "approximate": [], "memory": None}
        self._output = output
        sys.stdout.write(f"{self.figures['machine']}\n")

    def run(self, name: str, measure: Callable[[], T], text: Callable[[T], str]) -> T | None:
        """What `measure` gives, after its text is printed and its record, or list of records, is under `name`; a list
        already there goes on. None if it failed."""
        log.info("%s ...", name)
        with self.guarded(name):
            made = measure()
            sys.stdout.write(f"{text(made)}\n")
            sys.stdout.flush()
            records: Any = [asdict(row) for row in made] if isinstance(made, list) else asdict(cast(Any, made))
            known = self.figures.get(name)
            self.figures[name] = known + records if isinstance(known, list) else records
            return made
        return None

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """What fails inside is told, and the next goes on; the figures are written in any case."""
        try:
            yield
        except EmoInputError as error:  # which says all that there is to say
            log.error("%s failed: %s", name, error)
            self.failed = True
        except Exception:
            log.exception("%s failed", name)
            self.failed = True
        finally:
            if self._output:
                write_figures(self._output, self.figures)


def _cases(options: argparse.Namespace, device: torch.device, sections: Sections) -> None:
    """The cases, and what is asked for besides."""
    names = [name.strip() for name in options.cases.split(",") if name.strip()]  # "": only what is asked for besides
    unknown = [name for name in names if name not in (*CASES, FULL)]
    if unknown:
        raise EmoInputError("cases", ", ".join(unknown), ", ".join([*CASES, FULL]))
    cases = [name for name in names if name != FULL]
    for name in cases:

        def measured(name: str = name) -> list[Line]:
            case, how = CASES[name](device=device), {"compiled": options.compile, "graphs": options.cuda_graphs}
            return [compare(case, options.turns, **how)]

        lines = sections.run("cases", measured, table) or []
        sections.failed |= not all(line.is_exact for line in lines)
    if FULL in names:
        with sections.guarded(FULL):
            _full(options, device, sections)
    if options.approximate:
        for name in cases:
            make = partial(CASES[name], device=device)
            sections.run("approximate", lambda make=make: savings(make(), _product_run, options.turns), savings_table)  # type: ignore[misc]
    if options.memory:
        lengths = {"short_s": options.short_s, "long_s": options.long_s}
        sections.run("memory", lambda: footprint(**lengths, device=device), lambda made: made.as_text())
    if options.server:
        sections.run("server", lambda: overhead(options.server, turns=options.turns), lambda made: made.as_text())


def _full(options: argparse.Namespace, device: torch.device, sections: Sections) -> None:
    """The full-size case, piece by piece. In half precision a difference is printed and no failure: that both are equal
    is shown in float32 (`middle`)."""
    began = time.perf_counter()
    case = full_case(steps=options.steps, device=device, dtype=_dtype(options))
    log.info("full: weights drawn in %.1f s", time.perf_counter() - began)
    twin = compiled_case(case) if options.compile else None
    measure_pieces(Clip(case, twin, graphs=options.cuda_graphs), options.turns, sections)


def measure_pieces(clip: Clip, turns: int, sections: Sections) -> None:
    """All that `full` holds, each piece a section."""
    card = next(clip.case.model.backbone.parameters()).device.type == "cuda"
    timed_turns: Turns | None = sections.run(
        "full", lambda: measure_turns(clip, turns), lambda made: made.as_text(on_card=card)
    )
    if timed_turns is not None:
        wrong = timed_turns.dtype == "float32" and not timed_turns.difference <= EQUAL
        sections.failed |= wrong or timed_turns.compile_error is not None
    plain_s, product_s = (None, None) if timed_turns is None else (timed_turns.plain.median, timed_turns.product.median)
    fast: Fast | None = sections.run(
        "fast", lambda: measure_fast(clip, turns, plain_s=plain_s), lambda made: made.as_text(on_card=card)
    )
    sections.run(
        "reference",
        lambda: measure_reference(clip, guided_clip_s=product_s),
        lambda made: made.as_text(on_card=card),
    )
    sections.run(
        "idle",
        lambda: measure_idle(clip, fast, timed_turns),
        lambda rows: "\n".join(row.as_text(on_card=card) for row in rows),
    )


def _limits(options: argparse.Namespace, device: torch.device, sections: Sections) -> None:
    try:
        limits = [float(limit) for limit in options.limits.split(",")]
    except ValueError as error:
        raise EmoInputError("limits", repr(options.limits), "numbers of GB, such as 8,6") from error
    if device.type != "cuda":
        raise EmoInputError("limits", f"the device {device}", "a CUDA device, whose memory torch can be held to")
    began = time.perf_counter()
    steps = 10 if options.steps is None else options.steps
    with sections.guarded("limits"):
        case = full_case(steps=steps, device=device, dtype=_dtype(options))
        case.model.to("cpu")
        log.info("full: weights drawn and in main memory in %.1f s", time.perf_counter() - began)
        _limited(case, limits, device, sections)


def _limited(case: Case, limits: Sequence[float], device: torch.device, sections: Sections) -> None:
    rows = sections.run("limits", lambda: measure_limits(case, limits, device=device), limits_table)
    sections.failed |= rows is not None and any(row.error is not None for row in rows)


def _dtype(options: argparse.Namespace, default: str = "float16") -> torch.dtype:
    dtype: torch.dtype = getattr(torch, options.dtype or default)
    return dtype


def _peer(options: argparse.Namespace, device: torch.device) -> int:
    on_cuda = device.type == "cuda"
    line = measure_peer(
        options.peer,
        size=options.peer_size or ("full" if on_cuda else "small"),
        steps=2 if options.steps is None else options.steps,
        turns=options.turns,
        device=device,
        dtype=_dtype(options, "float16" if on_cuda else "float32"),
    )
    sys.stdout.write(f"{machine(device)}\n{line.as_text()}\n")
    if options.output:
        write_figures(options.output, {"machine": machine(device), "peer": asdict(line)})
    return 0 if line.is_same else 1


def _needs(options: argparse.Namespace) -> int:
    dtype = _dtype(options)
    rows = all_needs(dtype)
    sys.stdout.write(f"{needs_table(rows, dtype)}\n")
    if options.output:
        figures = {"dtype": str(dtype).removeprefix("torch."), "needs": [asdict(row) for row in rows]}
        write_figures(options.output, figures)
    return 0


def _released(options: argparse.Namespace) -> int:
    dtype = _dtype(options)
    if options.write_released:
        sys.stdout.write(f"{write_hallo(options.write_released, dtype)}\n")
        return 0
    device = options.device or "cpu"
    steps = 2 if options.steps is None else options.steps
    peaks = measure_released(options.released, dtype, steps=steps, device=device)
    about = machine(torch.device(device))
    sys.stdout.write(f"{about}\n{peaks.as_text()}\n")
    if options.output:
        write_figures(options.output, {"machine": about, "released": asdict(peaks)})
    return 0


def compare(case: Case, turns: int, *, compiled: bool = False, graphs: bool = False) -> Line:
    """Plain against product on one case, and product against compiled product where that is asked for and works."""
    plain, product, stepwise = _plain_run(case), _product_run(case, graphs=graphs), _product_run(case)
    first, second = plain(), product()
    difference = float((first - second).abs().max())
    log.info("%s: %d frames, largest difference %.1e", case.name, len(second), difference)
    times = versus(plain, product, turns)
    model = case.model
    with watched(model.backbone, model.reference_net, model.audio_projection, model.face_locator) as inside:
        whole = timed(stepwise)
    flop = operations(stepwise)
    weights = next(model.backbone.parameters())
    line = Line(
        case=case.name,
        frames=len(second),
        steps=case.settings.steps or model.config.clip.steps,
        difference=difference,
        plain_s=times.a.median,
        plain_spread_s=times.a.spread,
        product_s=times.b.median,
        product_spread_s=times.b.spread,
        ratio=times.ratio,
        plain_gflop=operations(plain) / 1e9,
        product_gflop=flop / 1e9,
        rate=flop / times.b.median / 1e9,
        matrix_rate=matrix_rate(weights.device, weights.dtype) / 1e9,
        outside_network=1 - inside.seconds / whole,
        peak_rss_mib=peak_rss() / 2**20,
    )
    twin = compiled_case(case) if compiled else None
    if twin is None:
        return line
    built = _product_run(twin, graphs=graphs)
    return replace(line, compiled=_compare_compiled(product, built, first, turns))


def _compare_compiled(
    product: Callable[[], torch.Tensor], compiled: Callable[[], torch.Tensor], plain: torch.Tensor, turns: int
) -> Compiled:
    first_s = timed(compiled)
    difference = float((plain - compiled()).abs().max())
    times = versus(product, compiled, turns)
    return Compiled(difference, first_s, times.b.median, times.b.spread, times.ratio)


def _plain_run(case: Case) -> Callable[[], torch.Tensor]:
    run = partial(plain_generate, case.model, plain_backbone(case.model.backbone), case.portrait, case.audio)
    return lambda: torch.cat(list(run(controls=case.controls, settings=case.settings)))


def _product_run(case: Case, *, graphs: bool = False) -> Callable[[], torch.Tensor]:
    """CUDA graphs, where they are asked for, are kept from run to run, as they are from clip to clip."""
    from ..pipeline.generate import generate
    from ..pipeline.reference import encode_reference

    kept = Graphs() if graphs else None

    def run() -> torch.Tensor:
        reference = encode_reference(case.model, case.portrait)
        clips = generate(case.model, reference, case.audio, case.controls, case.settings, graphs=kept)
        return torch.cat([clip.frames for clip in clips])

    return run


def machine(device: torch.device) -> str:
    """What this was measured on, in a line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return f"{name}, {platform.machine()}, torch {torch.__version__}, Python {platform.python_version()}"


def table(lines: Sequence[Line]) -> str:
    """One row per case."""
    rows = [
        "case         frames  steps  plain s (10-90 %)      product s (10-90 %)    ratio   target  same  GFLOP  of mm"
    ]
    for line in lines:
        target = TARGETS.get(line.case)
        rows.append(
            f"{line.case:<12} {line.frames:>6} {line.steps:>6}  {spread_text(line.plain_s, line.plain_spread_s):<22}"
            f" {spread_text(line.product_s, line.product_spread_s):<22} {line.ratio:>5.2f}x"
            f"  {'' if target is None else f'{target:.2f}x':>6}  {line.difference:.0e}"
            f"  {line.plain_gflop:.0f} -> {line.product_gflop:.0f}  {line.rate / line.matrix_rate:.0%}"
        )
        if line.compiled is not None:
            rows.append(_compiled_row(line.compiled))
        rows.append(f"{'':<12} outside the network {line.outside_network:.0%}, peak RSS {line.peak_rss_mib:.0f} MiB")
    return "\n".join(rows)


def _compiled_row(compiled: Compiled) -> str:
    return (
        f"{'':<12} B' compiled: {spread_text(compiled.seconds, compiled.spread_s)} s, {compiled.ratio:.2f}x as fast as"
        f" the product, same {compiled.difference:.0e}, first run {compiled.first_s:.0f} s"
    )
