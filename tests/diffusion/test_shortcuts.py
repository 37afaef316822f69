"""The approximations do what they say: which steps are guided, which blocks run, and nothing at all when off."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_clips import counted, small_run

from emo_core.data import DeepFeatures, GenerateSettings
from emo_core.diffusion.guidance import GuidedRows
from emo_core.diffusion.shortcuts import Shortcuts
from emo_core.errors import EmoInputError


def frames(**settings: object) -> torch.Tensor:
    return small_run(GenerateSettings(steps=4, guidance=3.0, **settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def exact() -> torch.Tensor:
    return frames()


@pytest.mark.parametrize("settings", [{"guidance_interval": (0.0, 1.0)}, {"step_cache": 1}, {"guidance_reuse": 1}])
def test_an_approximation_that_approximates_nothing_changes_nothing(exact, settings):
    assert torch.equal(frames(**settings), exact)


def test_guidance_outside_of_every_step_is_no_guidance(exact):
    alone = small_run(GenerateSettings(steps=4, guidance=1.0))
    assert torch.equal(frames(guidance_interval=(0.0, 0.0)), alone) and not torch.equal(exact, alone)


def test_only_steps_within_the_interval_have_an_unconditional_row():
    with counted() as calls:  # TINY's steps at 4: timesteps 999, 749, 499, 249
        frames(guidance_interval=(0.4, 0.8))
    assert [call.rows for call in calls] == [1, 2, 2, 1]


def test_guidance_is_asked_for_in_every_nth_guided_step(exact):
    with counted() as calls:
        reused = frames(guidance_reuse=2)
    assert [call.rows for call in calls] == [2, 1, 2, 1]
    assert torch.isfinite(reused).all() and not torch.equal(reused, exact)
    with counted() as calls:
        frames(guidance_reuse=3, guidance_interval=(0.0, 0.8))
    assert [call.rows for call in calls] == [1, 2, 1, 1]


def test_reused_guidance_is_exact_where_it_does_not_change():
    """A network whose conditional row is off the unconditional one by the same in every step."""
    rows, settings = GuidedRows(((None, None),), 2, 3.0), GenerateSettings(guidance_reuse=4)  # type: ignore[arg-type]
    alone = GuidedRows(((None, None),), 1, 1.0)  # type: ignore[arg-type]

    def network(latents, timesteps, reference, conditions):
        offset = torch.tensor([0.0, 0.5] if len(latents) == 2 else [0.5]).view(-1, 1, 1, 1, 1)
        return latents * 0.1 + offset

    shortcuts, exact = Shortcuts(rows, alone, settings), Shortcuts(rows, alone, GenerateSettings())
    for timestep in (900, 600, 300, 0):
        latents = torch.randn(1, 2, 3, 4, 4)
        got, wanted = (s.predict(network, latents, torch.tensor(timestep)) for s in (shortcuts, exact))
        torch.testing.assert_close(got, wanted)


def test_deep_blocks_run_in_every_nth_step():
    with counted() as calls:
        cached = frames(step_cache=2)
    assert [call.ran_deep for call in calls] == [True, False, True, False]
    assert torch.isfinite(cached).all() and not torch.equal(cached, frames())


def test_deep_blocks_run_anew_where_the_rows_change():
    with counted() as calls:
        frames(step_cache=3, guidance_interval=(0.0, 0.8))
    assert [(call.rows, call.ran_deep) for call in calls] == [(1, True), (2, True), (2, False), (2, True)]


@pytest.mark.parametrize("shallow", [1, 2, 9])
def test_features_used_at_the_step_that_made_them_change_nothing(shallow):
    with counted() as calls:
        small_run(GenerateSettings(steps=1, guidance=1.0))
    backbone, given = calls[0].network, calls[0].given
    made = DeepFeatures(shallow)
    plain, first, again = (backbone(*given), backbone(*given, deep=made), backbone(*given, deep=made))
    assert torch.equal(plain, first) and torch.equal(plain, again)
    assert made.hidden is not None


@pytest.mark.parametrize("settings", [{"guidance_interval": (0.8, 0.2)}, {"step_cache": 0}, {"guidance_reuse": 0}])
def test_what_cannot_be_meant_is_refused(settings):
    with pytest.raises(EmoInputError, match=next(iter(settings))):
        dataclasses.replace(GenerateSettings(), **settings)
