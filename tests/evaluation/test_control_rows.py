"""Rows of the controls on made-up tracks: what obeys passes, what does not fails."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from emo_core.evaluation.control_rows import (
    Found,
    LongVideo,
    curve_found,
    drift_found,
    end_ratio,
    ends_found,
    head_travel,
    late_over_early,
    pearson,
    region_found,
    relative_change,
    speed_found,
    strength_found,
)
from emo_core.evaluation.report import Row

SPEEDS = (0.1, 0.7, 1.3, 1.9)


def row(found: Found, name: str) -> Row:
    (wanted,) = [row for row in found.rows if name in row.name]
    return wanted


def heads(speed: float, spread: float, people: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(round(speed * 100))
    return [np.abs(speed + spread * rng.standard_normal(200)) for _ in range(people)]


def test_heads_that_do_as_they_are_told_meet_every_bar() -> None:
    found = speed_found({**{s: heads(s, 0.1) for s in SPEEDS}, None: heads(1.4, 1.0)})
    assert row(found, "correlation").value > 0.99 and row(found, "rank order").value == 1
    assert row(found, "variance against").value < 0.1
    assert row(found, "setting 0.7").value == pytest.approx(0.7, abs=0.02)
    assert all(row.passed is not False for row in found.rows)
    measured = found.panels[0].lines[0].points
    assert [x for x, _ in measured] == list(SPEEDS) and measured[2][1] == pytest.approx(1.3, abs=0.02)


def test_heads_that_do_not_listen_fail() -> None:
    found = speed_found({**{s: heads(0.9, 0.5) for s in SPEEDS}, None: heads(0.9, 0.1)})
    assert row(found, "correlation").passed is False and row(found, "variance against").passed is False
    calmer = speed_found({0.7: heads(0.7, 0.05), 1.9: heads(1.9, 0.8), None: heads(0.71, 0.2)})
    assert row(calmer, "variance against").passed is False and row(calmer, "equal speed").value < 0.2
    swapped = speed_found({s: heads(2.0 - s, 0.1) for s in SPEEDS})
    assert row(swapped, "correlation").value < -0.9 and row(swapped, "rank order").value == 0


def test_a_curve_is_compared_within_each_video() -> None:
    steps = np.repeat([0.2, 1.4], 50)
    calm, lively = steps + 0.1 * np.sin(np.arange(100)), steps + 2
    found = curve_found({"keyframes": [steps, steps]}, {"keyframes": [calm, lively]}, fps=25.0)
    assert row(found, "keyframes").value > 0.99 and row(found, "keyframes").passed is True
    assert "0.80 asked, 1.80 measured" in row(found, "keyframes").note
    deaf = curve_found({"keyframes": [steps, steps]}, {"keyframes": [steps * 0 + 0.2, steps * 0 + 1.4]}, fps=25.0)
    assert row(deaf, "keyframes").passed is False
    voice = curve_found({"the voice's": [steps]}, {"the voice's": [steps[::-1]]}, fps=25.0)
    assert row(voice, "voice").value < -0.99 and row(voice, "voice").bar is None
    assert [line.name for line in voice.panels[0].lines] == ["measured", "asked"]
    assert voice.panels[0].lines[1].points[0] == (0.0, pytest.approx(0.2))


def test_travel_grows_with_the_region() -> None:
    travel = {0.0: [0.02, 0.03], 0.8: [0.08, 0.1]}
    found = region_found("swing", travel, {0.0: [0.9, 1.0], 0.8: [1.0, 1.0]}, side="width")
    assert row(found, "widest over narrowest").value == pytest.approx(3.6)
    assert row(found, "share of frames").value == pytest.approx(0.975)
    smaller = region_found("swing", {0.0: [0.1], 0.8: [0.02]}, {0.0: [1.0], 0.8: [1.0]}, side="width")
    assert row(smaller, "widest over narrowest").passed is False


def test_travel_is_a_distance_that_outliers_do_not_make() -> None:
    swing = np.sin(np.linspace(0, 20 * math.pi, 1001)) * 5
    assert head_travel(swing) == pytest.approx(10, abs=0.2)
    swing[10] = 1000
    assert head_travel(swing) < 10.2
    assert head_travel(np.full(50, 3.0)) == 0


def test_a_strength_has_to_rise() -> None:
    found = strength_found("mouth emphasis", "movement", {2.0: [0.3], 0.0: [0.1], 1.0: [0.2, 0.22]})
    assert row(found, "rises").passed is True and found.panels[0].lines[0].points[0] == (0.0, 0.1)
    assert row(strength_found("mouth", "movement", {0.0: [0.2], 1.0: [0.1]}), "rises").passed is False
    assert row(strength_found("mouth", "movement", {0.0: [0.2], 1.0: [0.1]}, bar=None), "rises").passed is None


def test_ends_are_compared_with_the_portrait_and_with_the_rest() -> None:
    free = np.full(40, 6.0)
    settled = np.concatenate([np.linspace(3, 6, 20), np.linspace(6, 3, 20)])
    calm = np.full(39, 2.0)
    found = ends_found([settled], [free], [calm])
    assert all(row.passed for row in found.rows)
    glitch = calm.copy()
    glitch[-2:] = 30
    assert row(ends_found([settled], [free], [glitch]), "end of the video").passed is False
    assert row(ends_found([free + 1], [free], [calm]), "last frame").passed is False


def test_clip_borders_are_no_glitches() -> None:
    steps = np.full(40, 1.0)
    steps[13], steps[34] = 9, 9
    assert end_ratio(steps, [14, 35]) == pytest.approx(1)
    assert end_ratio(steps) == pytest.approx((18 / 10) / (38 / 30))  # counted, they are: one in 10 against one in 30


def long_video(distance: np.ndarray, young: float, blue: float = 120.0) -> LongVideo:
    colour = np.stack([np.full(100, 120.0)] * 2 + [np.linspace(120, blue, 100)], 1)
    ends, apart = ([distance[:25]], [distance[-25:]]), np.array([0.5, 0.25])
    return LongVideo(distance, colour, *ends, distance[50:75], np.full(25, young), apart, (10, 30, 50, 70))


def test_drift_is_the_last_second_against_the_first() -> None:
    calm, fade = np.full(100, 0.2), np.linspace(0.2, 0.3, 100)
    found = drift_found({"off": [long_video(fade, 0.22, blue=160)], "on": [long_video(calm, 0.2)]}, fps=25.0)
    assert row(found, "identity distance, off").passed is False and row(found, "mean colour, off").passed is False
    assert row(found, "identity distance, off").value == pytest.approx(0.357, abs=0.001)  # 0.2879 over 0.2121
    assert row(found, "identity distance, on").value == 0 and row(found, "mean colour, on").passed is True
    assert row(found, "in speech, off").value == pytest.approx(0.2626 / 0.22 - 1, abs=0.001)
    assert row(found, "in speech, off").passed is False and row(found, "in speech, on").passed is True
    assert found.panels[1].lines[0].points[-1][1] == pytest.approx(10, abs=2)
    assert relative_change(np.array([1.0, 1.0, 1.1, 1.1]), 2) == pytest.approx(0.1)
    assert "1.6 s old" in row(found, "in speech, off").note
    assert "0.50, 0.25 of 255" in row(found, "in speech, off").note
    rising = row(found, "over all words, off")  # only told: of words 1 to 4 the middles, 3 and 4 over 1 and 2
    assert rising.bar is None and rising.value == pytest.approx(40 / 99 * 0.1 / (0.2 + 29.5 / 99 * 0.1), rel=1e-3)
    assert row(found, "over all words, on").value == 0 and "4 times" in rising.note
    few = drift_found({"off": [replace(long_video(calm, 0.2), starts=(10, 30))]}, fps=25.0)
    assert "too few" in row(few, "over all words").note and "4 s, 1 person" in row(few, "mean colour").note


def test_the_error_of_a_mean_over_repetitions_is_told() -> None:
    rng = np.random.default_rng(0)
    drawn = [late_over_early(rng.normal(1, 0.2, 40)) for _ in range(400)]
    assert np.mean([error for _, error in drawn]) == pytest.approx(np.std([ratio for ratio, _ in drawn]), rel=0.1)
    assert late_over_early(np.array([1.0, 1.1, 9.0, 2.0, 2.2]))[0] == pytest.approx(2)  # the odd one belongs to none
    assert math.isnan(late_over_early(np.array([1.0, 2.0]))[1])
    one, other = ((long_video(np.concatenate([np.full(50, a), np.full(50, b)]), 0.2)) for a, b in ((1, 1.2), (1, 0.8)))
    both = row(drift_found({"off": [one, other]}, fps=25.0), "over all words, off")  # who goes and who comes
    assert both.value == pytest.approx(0) and "1.20, 0.80; standard error 0.00" in both.note


def test_drift_is_that_of_whoever_drifts_most_and_each_is_told() -> None:
    up, down = np.linspace(0.2, 0.3, 100), np.linspace(0.3, 0.2, 100)
    found = drift_found({"off": [long_video(up, 0.25), long_video(down, 0.25, blue=160)]}, fps=25.0)
    whose = row(found, "identity distance, off")  # one away, one nearer: they do not make up for each other
    assert whose.value == pytest.approx(0.357, abs=0.001) and whose.passed is False
    assert "0.25000 to 0.25000" in whose.note
    other = replace(long_video(up, 0.25), first=[up[:25], up[:25] + 0.1], last=[up[-25:], up[-25:] - 0.1])
    drawn = row(drift_found({"off": [other]}, fps=25.0), "identity distance, off")  # 0.2621 and 0.2379 on average
    assert drawn.value == pytest.approx(1 - 0.2379 / 0.2621, abs=0.001) and "2 draws" in drawn.note
    assert "2 people" in row(found, "identity distance, off").note
    assert "1.36, 0.74" in row(found, "identity distance, off").note
    assert row(found, "mean colour, off").passed is False  # one person's is enough
    assert [value for _, value in found.panels[0].lines[0].points] == pytest.approx([0.25] * 4)


def test_nothing_that_varies_has_no_correlation() -> None:
    assert math.isnan(pearson([(1.0, 2.0), (2.0, 2.0)]))
    assert pearson([(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]) == pytest.approx(1)
