"""`python -m emo_core evaluate`: measure a model against ground truth that it never saw.

In: a model, a folder. Out: a table with every bar and whether it is met, `results.json`, contact sheets. The same rows
for every test set: rendered heads, and puppets of unseen people, with whom go rows on portraits without truth. The exit
status is 0 whether or not the bars are met; --strict makes it 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..data import GenerateSettings
from ..errors import EmoInputError
from ..files import exists, expanded, output_named, shown
from ..owned import claim_folder, claimable, free_path, mark_of, refuse_impossible, refuse_inputs, write_mark
from ..training.records import read_json
from ..weights.build import usable_device
from ..weights.locate import resolve
from ..whole import write_text_whole
from .report import Row, as_json, table
from .testset import KIND as TESTS
from .testset import Sources, claim_testset, is_testset, refuse_testset
from .truth import HEADS, KINDS, PUPPETS, Kind

if TYPE_CHECKING:
    from ..config import EmoConfig
    from .plot import Panel
    from .takes import Budget, Studio
    from .truth import TruthSpec

log = logging.getLogger(__name__)

KIND, TESTSET = "evaluation", "testset"  # the mark of a folder of results; the folder of its test sets
RESULTS, EARLIER = "results.json", "earlier"  # what is measured; where that of the runs before is kept
SHEETS = ("right", "shuffled", "silent", "long")  # kinds of takes that are shown
VOICES = "voices"  # in that folder: who speaks in all of them
MOST: Mapping[Kind, int] = {HEADS: 20, PUPPETS: 40}  # clips
SECTION_NAMES = ("psnr", "lipsync", "identity", "seams", "still", "region", "speed", "photographs")
CONTROL_NAMES = (
    "speed", "curve", "width", "height", "strength", "guidance", "portrait", "mouth", "upper", "ends", "drift",
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emo_core evaluate",
        description="Measure a model on people, sentences and a voice that it never saw.",
    )
    add = parser.add_argument
    add("--model", default="emo-mini", help="a bundled model or the path of one (emo-mini)")
    add("--output", type=output_named, default=Path("output/evaluation"), help="folder for results (output/evaluation)")
    add("--quick", action="store_true", help="four short clips of each set: an impression in a few minutes")
    add("--sets", default=",".join(KINDS), help="test sets, separated by commas (%(default)s); --controls: the first")
    add(
        "--photos",
        nargs="+",
        type=expanded,
        metavar="FOLDER",
        help="folders of portraits: puppets of those of the test split (eight that lie in this repository)",
    )
    add(
        "--controls", action="store_true", help="instead: each control's setting against its measured effect, and plots"
    )
    add(
        "--clips",
        type=int,
        metavar="N",
        help="test clips of each set, one person each, as far as there are people: 20 heads, 40 puppets (12; quick: 4)",
    )
    add("--guidance", type=float, help="guidance scale (the model's own)")
    add("--steps", type=int, help="sampling steps per clip (the model's own)")
    add("--scheduler", default="ddim", help="ddim, euler, dpm++, lcm or tcd (ddim)")
    add("--guidance-interval", type=float, nargs=2, metavar=("LOW", "HIGH"), help="guide only at these noise levels")
    add("--guidance-reuse", type=int, default=1, metavar="N", help="guidance anew in every N-th step only (1)")
    add("--step-cache", type=int, default=1, metavar="N", help="deep blocks in every N-th step only (1)")
    add("--float8", action="store_true", help="keep the networks' linear layers in 8 bits")
    add("--seed", type=int, default=0, help="of the test set and of the noise (0)")
    add(
        "--only",
        help=f"sections, separated by commas: {','.join(SECTION_NAMES)}; of --controls: {','.join(CONTROL_NAMES)}",
    )
    add("--testset", type=expanded, help="folder of the test sets, made there if missing (OUTPUT/testset)")
    add("--voices", type=expanded, help="a voice corpus of training; without one a small one is made by flite")
    add("--device", help="cpu, cuda ... (cuda where there is one)")
    add("--strict", action="store_true", help="exit status 1 if a bar is missed")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate. Returns the exit status; EmoInputError for options that cannot be used."""
    options = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    sections = _chosen("only", options.only, CONTROL_NAMES if options.controls else SECTION_NAMES)
    options.sets = [kind for kind in KINDS if kind in _chosen("sets", options.sets, KINDS)]
    _prepare(options)
    if options.controls:
        return _evaluate_controls(options, sections)
    start = time.monotonic()
    studios = _open_studios(options)
    rows = _measure(studios, sections)
    seconds = time.monotonic() - start
    _write(options, studios, rows, seconds=seconds)
    sys.stdout.write(f"{table(rows)}\n{seconds:.0f} s; results and contact sheets in {options.output}\n")
    missed = any(row.passed is False for row in rows)
    return 1 if missed and options.strict else 0


def _prepare(options: argparse.Namespace) -> None:
    """Raises EmoInputError, before any work, for folders that are not ours to write to or that inputs lie in, and for
    what is missing on this machine."""
    if options.seed < 0:
        raise EmoInputError("seed", f"{options.seed}", "0 or more")
    usable_device(options.device)
    folder: Path = options.output
    tests = _testset(options)
    model = resolve(options.model)
    refuse_impossible(folder)
    if options.testset is not None:
        refuse_impossible(tests, name="test set")
    refuse_inputs(folder, {"model": model})
    photos = [("photos", path) for path in options.photos or ()]
    for what, path in (("model", model), ("test set", options.testset), ("voices", options.voices), *photos):
        if path is not None and _is_same(folder, path):
            remedy = "Choose another name for the output."
            raise EmoInputError("output", f"{shown(folder)}, which is also the {what}", "a folder of its own", remedy)
    if options.voices is not None and _is_same(tests, options.voices):
        found = f"{shown(tests)}, which is also the voices"
        raise EmoInputError("testset", found, "a folder of its own", "Choose another folder.")
    known = mark_of(folder, KIND) is not None or _made_before(folder)
    if not known:
        claimable(folder, KIND)
    if not is_testset(tests):
        claimable(tests, TESTS, name="test set")
    for kind in options.sets:
        refuse_testset(_place(options, kind), _amount(options, kind)[0], _sources(options))
    if known:  # also one of a version without marks
        write_mark(folder, KIND)
    claim_folder(folder, KIND)
    claim_testset(tests)


def _is_same(one: Path, other: Path) -> bool:
    """Whether both are one folder or file, there or not yet."""
    try:
        return Path(os.path.realpath(one)) == Path(os.path.realpath(other))
    except ValueError:  # a zero byte in a name
        return False


def _made_before(folder: Path) -> bool:
    """Whether a version without marks left its results there."""
    for name, types in (("results.json", {"settings": dict, "rows": list}), ("controls.json", {"rows": list})):
        try:
            read_json(folder / name, {"model": str, "seconds": int, **types}, what="output", again="")
        except EmoInputError:
            continue
        return True
    return is_testset(folder / TESTSET)


def _chosen(option: str, named: str | None, names: tuple[str, ...]) -> tuple[str, ...]:
    wanted = names if named is None else tuple(name.strip() for name in named.split(","))
    unknown = [name for name in wanted if name not in names]
    if unknown:
        found = ", ".join(repr(name) if name else "an empty name" for name in unknown)
        raise EmoInputError(option, found, f"some of {', '.join(names)}")
    return wanted


def _evaluate_controls(options: argparse.Namespace, sections: Sequence[str]) -> int:
    """The table of settings against effects, written anew after every section, so that what is there can be seen."""
    from .control_studio import CONTROLS, ControlStudio
    from .plot import write_plot

    start = time.monotonic()
    rows: list[Row] = []
    panels: list[Panel] = []
    options.sets = options.sets[:1]
    (loaded,) = _open_studios(options).values()
    studio = ControlStudio(loaded.model, loaded.tests, loaded.settings, loaded.budget, quick=options.quick)
    set_aside(options.output, ["controls.json", "controls.txt", "controls.png"])
    for name in sections:
        began = time.monotonic()
        found = CONTROLS[name](studio)
        rows += found.rows
        panels += found.panels
        seconds = time.monotonic() - start
        log.info("%s: %.0f s", name, time.monotonic() - began)
        write_plot(options.output / "controls.png", panels)
        write_text_whole(options.output / "controls.txt", f"{table(rows)}\n")
        about = {"model": str(options.model), "quick": options.quick, "seconds": round(seconds), "rows": as_json(rows)}
        write_text_whole(options.output / "controls.json", json.dumps(about, indent=1))
    sys.stdout.write(f"{table(rows)}\n{seconds:.0f} s; table and plots in {options.output}\n")
    return 1 if options.strict and any(row.passed is False for row in rows) else 0


def _open_studios(options: argparse.Namespace) -> dict[Kind, Studio]:
    """Load the model, make or read the test sets."""
    from .. import load_model
    from ..models.float8 import store_in_float8
    from .takes import Studio
    from .testset import load_testset

    settings = GenerateSettings(
        steps=options.steps,
        guidance=options.guidance,
        seed=options.seed,
        scheduler=options.scheduler,
        guidance_interval=options.guidance_interval and tuple(options.guidance_interval),
        step_cache=options.step_cache,
        guidance_reuse=options.guidance_reuse,
    )
    model = load_model(options.model, device=options.device)
    if options.float8:
        store_in_float8(model)
    studios = {}
    for kind in options.sets:
        spec, budget = _amount(options, kind, model.config)
        tests = load_testset(_place(options, kind), spec, _sources(options))
        studios[kind] = Studio(model, tests, settings, budget)
    return studios


def _testset(options: argparse.Namespace) -> Path:
    folder: Path = options.testset or options.output / TESTSET
    return folder


def _place(options: argparse.Namespace, kind: Kind) -> Path:
    """Heads lie where they always did, and all else below them."""
    return _testset(options) if kind == HEADS else _testset(options) / kind


def _sources(options: argparse.Namespace) -> Sources:
    return Sources(options.voices, options.photos and tuple(options.photos), _testset(options) / VOICES)


def _amount(options: argparse.Namespace, kind: Kind, config: EmoConfig | None = None) -> tuple[TruthSpec, Budget]:
    """How much of a test set, for a model of that configuration; without one, of no size."""
    from .photographs import shown_sizes
    from .takes import Budget
    from .truth import TruthSpec

    spec, budget = TruthSpec(size=config.clip.size if config else 0, seed=options.seed, kind=kind), Budget()
    if options.quick:
        spec = replace(spec, cases=4, frames=42, long_frames=56)
        budget = Budget(shuffled=2, silent=1, speed=1, speed_frames=28, shown=4, shown_frames=14)
    if options.clips is not None:
        most = max(MOST[each] for each in options.sets)
        if not 1 <= options.clips <= most:
            raise EmoInputError("clips", f"{options.clips}", f"1 to {most}")
        spec = replace(spec, cases=min(options.clips, MOST[kind]))
    if kind == PUPPETS:
        shown = max(shown_sizes(config)) if config else 0
        spec = replace(spec, people=max(spec.people, spec.cases), shown=shown)
    return spec, budget


def _measure(studios: Mapping[Kind, Studio], names: Sequence[str]) -> list[Row]:
    """The same sections of every test set; a section's heading carries which."""
    from .sections import SECTIONS

    rows = []
    for kind, studio in studios.items():
        for name in names:
            start = time.monotonic()
            rows += [replace(row, section=f"{kind}: {row.section}") for row in SECTIONS[name](studio)]
            log.info("%s: %s: %.0f s", kind, name, time.monotonic() - start)
    return rows


def _write(options: argparse.Namespace, studios: Mapping[Kind, Studio], rows: Sequence[Row], *, seconds: float) -> None:
    """results.json, and a sheet of each kind of take that was generated."""
    from .sheet import write_sheet, write_showings

    folder: Path = options.output
    set_aside(folder, [RESULTS, *(f"{kind}-{name}.png" for kind in KINDS for name in (*SHEETS, "photographs"))])
    for kind, studio in studios.items():
        made = vars(studio)  # cached properties: only what was asked for
        for name in SHEETS:
            if made.get(name):
                write_sheet(folder / f"{kind}-{name}.png", made[name][:8], every=5 if name != "long" else 25)
        if made.get("showings"):
            write_showings(folder / f"{kind}-photographs.png", made["showings"])
    any_studio = next(iter(studios.values()))
    about = {
        "model": str(options.model),
        "settings": asdict(any_studio.settings),
        "testsets": {kind: asdict(studio.tests.spec) for kind, studio in studios.items()},
        "budget": asdict(any_studio.budget),
        "seconds": round(seconds),
        "rows": as_json(rows),
    }
    write_text_whole(folder / RESULTS, json.dumps(about, indent=1))


def set_aside(folder: Path, names: Sequence[str]) -> Path | None:
    """Move what an earlier run left in `folder` under these names into a new folder in there, which is given: it may be
    of another model, other settings or sections, and took long. None where there is nothing."""
    there = [name for name in names if exists(folder / name)]
    if not there:
        return None
    kept = free_path(folder / EARLIER)
    kept.mkdir()
    for name in there:
        (folder / name).rename(kept / name)
    log.info("what was measured before is kept in %s", kept)
    return kept
