"""The table says what is met and what is not."""

import json

from emo_core.evaluation.report import Bar, Row, as_json, table

ROWS = [
    Row("mouth", "r", 0.7, Bar(">=", 0.65)),
    Row("mouth", "lag", 2, Bar("<=", 1), digits=0),
    Row("colour", "drift", float("nan"), Bar("<=", 2)),
    Row("colour", "mean", 0.123, note="for information"),
]


def test_bars_are_judged_and_unknown_values_meet_none():
    assert [row.passed for row in ROWS] == [True, False, False, None]
    assert Bar(">=", 0.65).met(0.65) and Bar("<=", 1.5).met(1.5)


def test_table_shows_values_bars_and_verdicts():
    text = table(ROWS)
    assert "1 of 3 bars met" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    assert "0.70" in lines["r"] and ">= 0.65" in lines["r"] and "ok" in lines["r"]
    assert "FAIL" in lines["lag"] and "FAIL" in lines["drift"]
    assert "for information" in lines["mean"] and "FAIL" not in lines["mean"]


def test_json_has_no_nan():
    plain = as_json(ROWS)
    assert json.loads(json.dumps(plain, allow_nan=False))[2]["value"] is None
    assert plain[0] == {"section": "mouth", "name": "r", "value": 0.7, "bar": ">= 0.65", "note": "", "passed": True}
