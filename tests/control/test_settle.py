"""Lead-in and lead-out: held at the ends, free where the voice is."""

from __future__ import annotations

import pytest
import torch

from emo_core.control.settle import calm_speed, settle_weights


def test_without_silence_there_is_nothing_to_settle() -> None:
    assert settle_weights(10, 0, 0) is None
    speed = torch.rand(4)
    assert calm_speed(speed, None) is speed


@pytest.mark.parametrize(("lead_in", "lead_out"), [(4, 6), (4, 0), (0, 6)])
def test_the_ends_are_the_portrait_and_the_voice_is_free(lead_in: int, lead_out: int) -> None:
    weights = settle_weights(30, lead_in, lead_out)
    assert weights is not None
    assert float(weights[lead_in : 30 - lead_out].abs().max()) == 0
    if lead_in:
        assert float(weights[0]) == 1 and bool((weights[:lead_in].diff() < 0).all())
    if lead_out:
        assert float(weights[-1]) == 1 and bool((weights[-lead_out:].diff() > 0).all())
    calm = calm_speed(torch.full((30,), 0.8), weights)
    assert torch.equal(calm, 0.8 * (1 - weights))
