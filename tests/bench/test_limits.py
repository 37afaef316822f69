"""Limits without a card: another stands in its place. Each limit is planned, run and told; one that fails is a line."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from test_full import CONFIG

from emo_core.bench import limits
from emo_core.bench.cases import full_case
from emo_core.bench.command import main
from emo_core.bench.limits import Card, Limited, limits_table, measure_limits
from emo_core.errors import EmoInputError
from emo_core.pipeline import memory

CPU = torch.device("cpu")


class FakeCard(Card):
    """Remembers what it was held to, and says that little is free."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.device, self.held = CPU, list[float | None]()
        monkeypatch.setattr(memory, "free_bytes", self._free)

    def _free(self, device: torch.device) -> int:
        limit = self.held[-1]
        return 2**40 if limit is None else int(limit * 2**30)

    def hold_to(self, limit_gib: float | None) -> None:
        self.held.append(limit_gib)

    def forget_peaks(self) -> None:
        pass

    def peaks(self) -> tuple[int, int]:
        return 2**20, 2**21


def test_each_limit_is_measured_and_one_that_fails_is_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    card = FakeCard(monkeypatch)
    case = full_case(steps=1, device=CPU, dtype=torch.float32, config=CONFIG)
    whole = measure_limits(case, [], device=CPU, card=card, clips=1)[0].estimate
    assert whole is not None and card.held == [None, None, None]
    less = 0.8 * whole / 2**30
    free, tight, impossible, wide = measure_limits(case, [less, 1e-6, 8], device=CPU, card=card, clips=2)
    assert card.held[3:] == [None, None, less, 1e-6, 8, None]
    for row in (free, tight, wide):
        assert row.error is None and row.mode == "none" and row.estimate and len(row.clips_s) == 2 and row.first_s > 0
    assert free.estimate == wide.estimate == whole and tight.estimate is not None and tight.estimate < less * 2**30
    assert tight.one_row_per_pass or tight.decode_chunk < free.decode_chunk
    assert impossible.error is not None and "a clip needs about" in impossible.error and impossible.seconds is None
    table = limits_table([free, tight, impossible, wide]).splitlines()
    assert table[1].split()[:4] == ["none", "none", "all", "4"] and table[2].split()[1] == "none"
    assert "memory: found" in table[3] and "(target 1.15x)" in table[4]


def test_without_a_limit_nothing_to_compare_with() -> None:
    row = Limited(8.0, "parts", False, 8, 2**30, 2**30, 2**31, 1.0, 2.0, (1.5, 1.0, 2.0))
    lost = Limited(None, error="CUDA out of memory")
    assert row.seconds == 1.5
    told = " ".join(limits_table([lost, row]).splitlines()[2].split())
    assert told == "8 parts all 8 1.00 1.00 2.00 1.00 (±0.15) 2.00 1.50 (target 1.15x)"
    assert limits_table([dataclasses.replace(row, limit_gib=None), row]).endswith("1.00x (target 1.15x)")


def test_a_card_is_held_to_a_share_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (0, 16 * 2**30))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: shares.append(given))
    card = limits.Card(torch.device("cuda:1"))
    for limit in (8, 32, None):
        card.hold_to(limit)
    assert shares == [(0.5, 1), (1.0, 1), (1.0, 1)]


def test_no_card_and_no_numbers_are_a_sentence() -> None:
    case = full_case(steps=1, device=CPU, dtype=torch.float32, config=CONFIG)
    with pytest.raises(EmoInputError, match="limits: found the device cpu; expected a CUDA device"):
        measure_limits(case, [8], device=CPU)
    with pytest.raises(EmoInputError, match="limits: found the device cpu"):
        main(["--limits", "8,6", "--device", "cpu"])
    for said in ("8;6", ""):  # without any it was as if there had been no --limits
        with pytest.raises(EmoInputError, match=f"limits: found '{said}'; expected numbers of GB"):
            main(["--limits", said, "--device", "cpu"])
