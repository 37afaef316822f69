"""The loop: a run that stops and continues sees the very losses of one that did not stop; checkpoints stay small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from emo_core.errors import EmoInputError
from emo_core.training.checkpoint import (
    SHARD_BYTES,
    Counters,
    find_checkpoint,
    load_shards,
    save_checkpoint,
    save_shards,
)
from emo_core.training.loop import Batch, LoopSettings, Parts, Run, lr_share, train


class Line(nn.Module):
    """Fits y = 2x; stops itself after `last` steps by using up the time budget."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)
        self.frozen = nn.Linear(3, 3)
        self.frozen.requires_grad_(False)
        self.losses: list[float] = []

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        loss = (self.layer(batch["x"]) - 2 * batch["x"].sum(1, keepdim=True)).square().mean()
        self.losses.append(float(loss.detach()))
        return loss, {}


def batch_of(step: int, rank: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1000 * rank + step)
    return {"x": torch.randn(4, 3, generator=generator)}


class FakeTime:
    """A clock that advances 1 s a look; the loop's budget then counts steps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


def run(folder: Path, minutes: float, monkeypatch: pytest.MonkeyPatch) -> Line:
    import emo_core.training.loop as loop

    monkeypatch.setattr(loop, "time", FakeTime())
    module = Line()
    settings = LoopSettings(folder=folder, minutes=minutes, warmup_steps=1, final_lr_share=1.0, lr=0.1)
    train(module, batch_of, settings)
    return module


def test_resumed_run_continues_with_the_very_next_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "whole", 20 / 60, monkeypatch)
    first = run(tmp_path / "parts", 10 / 60, monkeypatch)
    second = run(tmp_path / "parts", 20 / 60, monkeypatch)
    joined = first.losses + second.losses
    common = min(len(joined), len(whole.losses))  # saving takes a tick of the clock, so the counts may differ by one
    assert common > 15
    assert joined[:common] == pytest.approx(whole.losses[:common], abs=1e-5)
    assert sum(whole.losses[-5:]) < sum(whole.losses[:5])


def test_batches_drawn_ahead_by_processes_are_the_same_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import emo_core.training.loop as loop

    def losses(folder: str, workers: int, minutes: float) -> list[float]:
        monkeypatch.setattr(loop, "time", FakeTime())
        module = Line()
        train(module, batch_of, LoopSettings(folder=tmp_path / folder, minutes=minutes, lr=0.1, workers=workers))
        return module.losses

    assert losses("between", 0, 10 / 60) == losses("ahead", 2, 10 / 60)
    assert losses("between", 0, 20 / 60) == losses("ahead", 2, 20 / 60)  # both go on at the same step


def test_weights_after_training_are_the_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = run(tmp_path, 20 / 60, monkeypatch)
    saved = load_shards(tmp_path / "checkpoint", "average")
    assert torch.equal(saved["layer.weight"], module.layer.weight)
    assert not torch.equal(load_shards(tmp_path / "checkpoint", "weights")["layer.weight"], module.layer.weight)


def test_frozen_parameters_stay_and_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Line().frozen.weight
    module = run(tmp_path, 5 / 60, monkeypatch)
    assert torch.equal(before, module.frozen.weight)
    assert torch.equal(load_shards(tmp_path / "checkpoint", "average")["frozen.weight"], before)


def test_log_has_a_line_per_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, 1.0, monkeypatch)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines and {"step", "loss", "lr", "grad_norm", "trained_s"} <= set(lines[0])


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no weights": ("weights-000.safetensors", Path.unlink, "no .*weights|weights of .* without"),
    "no average": ("average-000.safetensors", Path.unlink, "average of .* without"),
    "no moments": ("moments-000.safetensors", Path.unlink, "no moments"),
    "no counters": ("counters.json", Path.unlink, "without its counters.json"),
    "numbers below zero": ("counters.json", lambda path: path.write_text('{"step": -5, "trained_s": 1}'), "below 0"),
    "cut weights": ("weights-000.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-9]), "truncated"),
    "NaN": ("weights-000.safetensors", lambda path: _spoil(path), "NaN"),
}


def _spoil(path: Path) -> None:
    save_file({name: value * float("nan") for name, value in load_file(path).items()}, path)


@pytest.mark.parametrize("name", DAMAGE)
def test_a_checkpoint_that_is_not_whole_is_told_and_left(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never trained on from, as if what is missing were there."""
    file, damage, said = DAMAGE[name]
    run(tmp_path, 5 / 60, monkeypatch)
    damage(tmp_path / "checkpoint" / file)
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoint").iterdir()}
    with pytest.raises(EmoInputError, match=f"(?s)^checkpoint: .*({said}).*Remove the checkpoint") as told:
        run(tmp_path, 10 / 60, monkeypatch)
    assert str(tmp_path / "checkpoint") in str(told.value)
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoint").iterdir()} == before


def test_training_that_diverges_keeps_the_checkpoint_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, 5 / 60, monkeypatch)
    before = load_shards(tmp_path / "checkpoint", "weights")
    monkeypatch.setattr(Line, "forward", lambda self, batch: ((self.layer(batch["x"]) * float("nan")).sum(), {}))
    with pytest.raises(EmoInputError, match=r"training: .*no numbers.*is kept as it was"):
        run(tmp_path, 20 / 60, monkeypatch)
    after = load_shards(tmp_path / "checkpoint", "weights")
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_one_batch_whose_gradient_is_no_number_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, calls = Line.forward, []

    def once(self: Line, batch: Batch) -> tuple[Tensor, Parts]:
        calls.append(1)
        loss, parts = forward(self, batch)
        return (loss * float("nan") if len(calls) == 3 else loss), parts

    monkeypatch.setattr(Line, "forward", once)
    run(tmp_path, 8 / 60, monkeypatch)
    assert len(calls) >= 8
    weights = load_shards(tmp_path / "checkpoint", "weights")
    assert weights and all(bool(value.isfinite().all()) for value in weights.values())


def test_learning_rate_warms_up_and_decays(tmp_path: Path) -> None:
    settings = LoopSettings(folder=tmp_path, minutes=1.0, warmup_steps=10, final_lr_share=0.1)
    assert lr_share(Counters(step=0), settings) == pytest.approx(0.1)
    assert lr_share(Counters(step=100), settings) == pytest.approx(1.0)
    assert lr_share(Counters(step=100, trained_s=60.0), settings) == pytest.approx(0.1)


def test_shards_are_at_most_15_mb_and_lossless(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.randn(1_000_000) for i in range(9)}
    save_shards(tensors, tmp_path, "weights")
    files = list(tmp_path.glob("weights-*.safetensors"))
    assert len(files) == 3
    assert max(f.stat().st_size for f in files) <= SHARD_BYTES + 10_000
    loaded = load_shards(tmp_path, "weights")
    assert all(torch.equal(loaded[name], value) for name, value in tensors.items())


def test_a_run_killed_between_the_renames_still_finds_its_checkpoint(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    weights = dict(layer.named_parameters())
    save_checkpoint(tmp_path / "checkpoint", weights, average=weights, optimizer=optimizer, counters=Counters(7, 1.0))
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.0123abcd.old")
    found = find_checkpoint(tmp_path / "checkpoint")
    assert found is not None and "weight" in load_shards(found, "weights")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_recorded_step_is_the_plain_step(tmp_path: Path) -> None:
    """Seen equal on an H200 for emo-mini, in bf16; with batches drawn ahead by other processes not yet."""
    ends = []
    for recorded in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 1))

        class Step(nn.Module):
            def __init__(self, net: nn.Module) -> None:
                super().__init__()
                self.net = net

            def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
                return (self.net(batch["x"]) - batch["x"].sum(1, keepdim=True)).square().mean(), {}

        run = Run(
            Step(net),
            LoopSettings(tmp_path / f"{recorded}", 1.0, cuda_graph=recorded),
            [{"params": list(net.parameters())}],
        )
        for step in range(10):
            run.step(batch_of(step, 0))
        ends.append([parameter.detach().cpu() for parameter in net.parameters()])
    assert all(torch.equal(plain, replayed) for plain, replayed in zip(*ends, strict=True))


def test_batches_tell_how_much_of_the_training_is_over_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import emo_core.training.loop as loop

    told: list[float] = []

    class Told(Line):
        def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
            told.append(float(batch["done"]))
            return super().forward(batch)

    for minutes in (5 / 60, 10 / 60):  # stopped, and gone on with a longer one
        monkeypatch.setattr(loop, "time", FakeTime())
        train(Told(), batch_of, LoopSettings(tmp_path / "run", minutes=minutes, tells_progress=True))
    assert told[:5] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8]) and told[5:] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
