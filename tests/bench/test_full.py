"""The full case on a small twin of Hallo's shape: its pieces are measured, told and written one by one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from test_released_bench import SMALL

from emo_core.bench import cases, command, full
from emo_core.bench.cases import full_case
from emo_core.bench.command import Sections, main, measure_pieces
from emo_core.bench.full import FAST, Clip, Idle, Turns, measure_idle, measure_reference, measure_turns
from emo_core.bench.measure import Timing, covered, in_turns, kernel_seconds, watched_calls
from emo_core.models.compiled import compile_regions

CPU = torch.device("cpu")
CONFIG = dataclasses.replace(SMALL, clip=dataclasses.replace(SMALL.clip, frames=4, size=64))


def small_clip(dtype: torch.dtype = torch.float32, **how: Any) -> Clip:
    return Clip(full_case(steps=2, device=CPU, dtype=dtype, config=CONFIG, **how))


def no_compiler(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
    raise RuntimeError("out of registers\nand a page of advice")


def test_it_is_hallo_in_full_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def drawn(config: Any, **how: Any) -> Any:
        asked.append((config, how))
        return cases.random_model(CONFIG, device=CPU)

    monkeypatch.setattr(cases, "drawn_model", drawn)
    case = full_case(device=CPU)
    config, how = asked[0]
    assert config.unet.block_out_channels == (320, 640, 1280, 1280) and config.vae.kind == "kl"
    assert (config.clip.size, config.clip.frames) == (512, 16) and how["dtype"] == torch.float16
    assert (case.settings.steps, case.settings.guidance) == (40, 3.5)
    assert (config.unet.identity.halves, config.unet.reference_rounding) == ("matched", "none")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_plain_and_product_are_alike_and_finite(dtype: torch.dtype) -> None:
    """Also two clips, whose second is told of motion frames; each precision rounds, and drawn weights magnify
    it, by how much the number of threads and the processor tell; what they compute is the same (below).

    In half precision the worst of all pixels says little (.08 to .22 from one processor to another): there the mean
    is looked at, which is .013, and .22 of pictures that have nothing to do with each other."""
    clip = small_clip(dtype, clips=2)
    clip.plain(), clip.product()
    for made in clip.made.values():
        assert made.shape == (8, 64, 64, 3) and made.dtype == torch.float32 and bool(torch.isfinite(made).all())
    if dtype == torch.float32:
        assert clip.difference("product") < 1e-2
    else:
        assert (clip.made["plain"] - clip.made["product"]).abs().mean() < 0.03
    assert clip.made["plain"].std() > 0.05  # pictures, not a flat grey


def test_rounding_is_all_that_tells_them_apart() -> None:
    clip = small_clip(torch.float64)
    clip.plain(), clip.product()
    assert clip.difference("product") < 1e-6


def test_the_pieces_are_told_and_written_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "full.json"
    sections = Sections(output, CPU)
    measure_pieces(small_clip(torch.float16), 1, sections)
    assert not sections.failed  # a difference in float16 is no failure
    said, written = capsys.readouterr().out, json.loads(output.read_text())
    for part in ("A  plain", "B  product", "fast: 4 frames, 6 steps", "ReferenceNet in the second clip", "no card"):
        assert part in said
    assert "target" not in said  # those of a card
    assert written["full"]["product_tflop"] < written["full"]["plain_tflop"]
    assert written["fast"]["plain_s"] == written["full"]["plain"]["seconds"][0]
    assert 0 < written["reference"]["fast_reference_s"] < written["reference"]["fast_clip_s"]
    assert [row["kernels_s"] for row in written["idle"]] == [None, None]


def test_one_piece_that_fails_does_not_stop_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: nobody at home")

    monkeypatch.setattr(command, "measure_turns", broken)
    sections = Sections(tmp_path / "full.json", CPU)
    measure_pieces(small_clip(), 1, sections)
    written = json.loads((tmp_path / "full.json").read_text())
    assert sections.failed and "nobody at home" in caplog.text
    assert (
        "full" not in written and written["fast"]["plain_s"] is None and written["reference"]["guided_clip_s"] is None
    )


def test_an_input_that_a_section_refuses_is_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    """And no traceback: of a sound without samples, here."""
    assert main(["--cases", "", "--memory", "--short-s", "1e-9", "--long-s", "2e-9", "--device", "cpu"]) == 1
    (told,) = [record for record in caplog.records if "failed" in record.getMessage()]
    assert told.exc_info is None and told.getMessage().startswith("memory failed: audio: found ")


def test_compiled_runs_in_the_same_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "compile_regions", partial(compile_regions, backend="eager"))
    torch._dynamo.reset()
    clip = small_clip(torch.float64)  # rounding, which drawn weights magnify, tells processors apart
    clip.twin = cases.compiled_case(clip.case)
    turns = measure_turns(clip, 1)
    assert turns.compiled is not None and turns.compile_s is not None and turns.compile_error is None
    assert turns.compiled_difference is not None and turns.compiled_difference < 1e-6
    assert "B' compiled" in turns.as_text(on_card=False)
    torch._dynamo.reset()


def test_a_compiler_that_fails_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    torch._dynamo.reset()
    clip = small_clip()
    clip.twin = dataclasses.replace(clip.case, model=cases.random_model(CONFIG, device=CPU))
    for block in clip.twin.model.backbone.down_blocks:
        block.compile(backend=no_compiler)
    turns = measure_turns(clip, 1)
    assert turns.compiled is None and clip.twin is None and turns.product.median > 0
    assert "B' compiled failed" in turns.as_text(on_card=True) and "out of registers" in caplog.text
    torch._dynamo.reset()


def test_a_card_has_targets() -> None:
    turns = Turns(
        16, 40, "float16", 0.01, Timing((6.0,)), Timing((4.0,)), 2000.0, 1800.0, 6e14, Timing((3.0,)), 0.01, 9
    )
    text = turns.as_text(on_card=True)
    assert "1.50x (target 1.20x)" in text and "2.00x (target 1.50x)" in text and "75% of it (target 45%)" in text
    fast = full.Fast(16, 6, Timing((0.5,)), None, 6.0).as_text(on_card=True)
    assert "32.00 frames a second (target 25), 12.00x plain (target 8.00x)" in fast
    assert "5.0% outside it (target 5%)" in Idle("fast", 1.0, 0.95).as_text(on_card=True)
    share = full.ReferenceShare(0.5, 0.02, 0.04, 4.0).as_text(on_card=True)
    assert "4.0% (target 5%)" in share and "1.0% (target 1%)" in share


def test_nothing_to_be_idle_beside() -> None:
    assert measure_idle(small_clip(), None, None) == []


def test_reference_net_is_watched_where_motion_frames_are_encoded() -> None:
    clip = small_clip()
    share = measure_reference(clip, guided_clip_s=None)
    assert share.guided_reference_s > 0 and "guidance (of" not in share.as_text(on_card=True)
    net = clip.case.model.reference_net
    with watched_calls(net, "encode_motion") as inside:
        net.encode_motion(torch.zeros(1, 2, 4, 8, 8), identity=None)
    assert inside.seconds > 0 and "encode_motion" not in vars(net)


def test_turns_of_three() -> None:
    order: list[str] = []
    times = in_turns({name: partial(order.append, name) for name in "abc"}, 2)
    assert "".join(order) == "abccba" and all(len(timing.seconds) == 2 for timing in times.values())


def test_work_at_the_same_time_counts_once() -> None:
    assert covered([(0, 4), (1, 2), (3, 6), (8, 9)]) == 7 and covered([]) == 0
    if not torch.cuda.is_available():
        assert kernel_seconds(lambda: None) is None


def test_steps_and_cases_of_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def small(**how: Any) -> cases.Case:
        asked.append(how)
        return full_case(config=CONFIG, **how)

    monkeypatch.setattr(command, "full_case", small)
    given = [
        "--cases",
        "full",
        "--device",
        "cpu",
        "--dtype",
        "float32",
        "--turns",
        "1",
        "--output",
        str(tmp_path / "a"),
    ]
    main([*given, "--steps", "1"])
    assert asked == [{"steps": 1, "device": CPU, "dtype": torch.float32}]
    assert json.loads((tmp_path / "a").read_text())["full"]["steps"] == 1
    with pytest.raises(command.EmoInputError, match="cases: found fool; expected emo-mini, middle, full"):
        main(["--cases", "fool", "--device", "cpu"])
    assert FAST.steps == 6 and FAST.guidance == 1.0
