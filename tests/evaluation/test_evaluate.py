"""`evaluate` as a whole, with tiny random models and tiny test sets: both sets are measured, each by its own name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_takes import SIZE, case

from emo_core.config import TINY, TINY_REFERENCED, EmoConfig
from emo_core.errors import EmoInputError
from emo_core.evaluation import photographs
from emo_core.evaluation.command import main
from emo_core.evaluation.testset import save_testset
from emo_core.evaluation.truth import HEADS, PUPPETS, Squares, TruthSet, TruthSpec

QUICK = TruthSpec(cases=4, frames=42, long_frames=56, size=SIZE)


def saved(folder: Path, config: EmoConfig) -> Path:
    from emo_core.models.emo import EmoModel
    from emo_core.weights.file import save_model

    torch.manual_seed(0)
    return save_model(EmoModel(config), folder / f"{config.name}.safetensors", dtype=None)[0]


def save_sets(folder: Path, shown: int) -> None:
    """Of each kind two clips, which is fewer than are asked for."""
    rng = np.random.default_rng(3)
    nobody = np.zeros((0, SIZE, SIZE, 3), np.uint8)
    sound = rng.uniform(-0.5, 0.5, 20 * 640).astype(np.float32)
    squares = Squares(
        rng.integers(0, 255, (1, shown, shown, 3), np.uint8), np.array([[8, 8, 56, 56]], np.float32) * shown / 64
    )
    cases = (case(0), case(1))
    save_testset(folder, TruthSet(QUICK, cases, nobody, sound))
    puppets = replace(QUICK, kind=PUPPETS, shown=shown)
    save_testset(folder / PUPPETS, TruthSet(puppets, cases, nobody, sound, squares))


@pytest.mark.parametrize("config", [TINY, TINY_REFERENCED], ids=["kl-like", "referenced"])
def test_both_sets_are_measured_and_portraits_without_truth(
    config: EmoConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photographs, "ENLARGED", (96, 128))
    save_sets(tmp_path / "sets", 128)
    asked = ["--model", str(saved(tmp_path, config)), "--output", str(tmp_path / "out"), "--quick"]
    asked += ["--testset", str(tmp_path / "sets"), "--only", "psnr,seams,photographs", "--device", "cpu"]
    assert main(asked) == 0
    said, results = capsys.readouterr().out, json.loads((tmp_path / "out" / "results.json").read_text())
    of = {kind: [row for row in results["rows"] if row["section"].startswith(f"{kind}: ")] for kind in (HEADS, PUPPETS)}
    names = {kind: [row["name"] for row in rows] for kind, rows in of.items()}
    assert names[HEADS] == names[PUPPETS][: len(names[HEADS])] and len(of[HEADS]) + len(of[PUPPETS]) == len(
        results["rows"]
    )
    sizes = photographs.shown_sizes(config)
    shown = [name for name in names[PUPPETS] if name not in names[HEADS]]
    assert shown[: len(sizes)] == [f"detail kept at {size} pixels" for size in sizes]
    assert "puppets: PSNR" in said and ">= 36.5" in said and "heads: PSNR" in said and ">= 31" in said
    assert set(results["testsets"]) == {HEADS, PUPPETS}
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {
        "heads-right.png", "heads-long.png", "puppets-right.png", "puppets-long.png", "puppets-photographs.png",
    }  # fmt: skip


def test_one_set_alone_and_sets_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_sets(tmp_path / "sets", 128)
    asked = ["--model", str(saved(tmp_path, TINY_REFERENCED)), "--output", str(tmp_path / "out"), "--quick"]
    asked += ["--testset", str(tmp_path / "sets"), "--only", "psnr", "--sets", "puppets", "--device", "cpu"]
    assert main(asked) == 0
    assert "heads:" not in capsys.readouterr().out
    for option, said in (("heads,dolls", "sets: found 'dolls'"), ("", "sets: found an empty name")):
        with pytest.raises(EmoInputError, match=said):
            main([*asked, "--sets", option])


def test_photographs_of_nobody_are_told_before_any_work(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    pytest.importorskip("scipy")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"no picture")
    asked = ["--model", str(saved(tmp_path, TINY)), "--sets", "puppets", "--photos", str(tmp_path / "photos")]
    voices = tmp_path / "out" / "testset" / "voices"
    with pytest.raises(EmoInputError, match=r"no program 'flite'|--photos: found 1 pictures"):
        main([*asked, "--output", str(tmp_path / "out")])
    assert not voices.exists() and not (tmp_path / "out").exists()
    with pytest.raises(EmoInputError, match="also the photos"):
        main([*asked, "--output", str(tmp_path / "photos")])
