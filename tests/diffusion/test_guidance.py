"""What the unconditional row sees, and that two rows in one pass are two passes of one row."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from emo_core.config import GuidanceConfig
from emo_core.data import Conditions, ReferenceCache
from emo_core.diffusion.guidance import guided_rows, predict_guided

KEEP_ALL = GuidanceConfig(reference="keep", audio="keep", face_region="keep", motion_frames="keep", speed="keep")
FIELDS = {
    "reference": lambda r, c: [*r.keys.values(), *r.values.values(), r.latents],
    "audio": lambda r, c: [c.audio_tokens],
    "face_region": lambda r, c: [c.face_feature],
    "motion_frames": lambda r, c: list(r.motion.values()),
    "speed": lambda r, c: [c.speed_tokens],
}


def inputs() -> tuple[ReferenceCache, Conditions]:
    reference = ReferenceCache(
        keys={"site": torch.randn(1, 5, 3)},
        values={"site": torch.randn(1, 5, 3)},
        motion={"site": torch.randn(1, 2, 3, 4, 4)},
        latents=torch.randn(1, 3, 4, 4),
    )
    conditions = Conditions(torch.randn(1, 2, 4, 3), torch.randn(1, 1, 3, 4, 4), torch.randn(1, 2, 3))
    return reference, conditions


def network(latents: torch.Tensor, timesteps: torch.Tensor, reference: ReferenceCache, conditions: Conditions):
    """Any function of everything, row by row."""
    everything = sum(
        t.flatten(1).mean(1) * (i + 1)
        for i, t in enumerate(x for get in FIELDS.values() for x in get(reference, conditions))
    )
    return latents * everything.view(-1, 1, 1, 1, 1) + timesteps.view(-1, 1, 1, 1, 1)


@pytest.mark.parametrize("field", FIELDS)
def test_the_table_decides_field_by_field(field: str) -> None:
    reference, conditions = inputs()
    table = dataclasses.replace(KEEP_ALL, **{field: "zero"})
    rows = guided_rows(reference, conditions, table, scale=2.0)
    (stacked,) = rows.passes
    for name, get in FIELDS.items():
        for both, original in zip(get(*stacked), get(reference, conditions), strict=True):
            if name == field:
                assert torch.equal(both, torch.cat([torch.zeros_like(original), original]))
            else:
                assert torch.equal(both, original)  # one row serves both


def test_only_rows_without_the_sound_are_said_to_be_silent() -> None:
    reference, conditions = inputs()
    for portrait_scale, silent in ((None, 1), (1.5, 2)):
        for apart in (False, True):
            rows = guided_rows(
                reference,
                conditions,
                GuidanceConfig(),
                scale=2.0,
                portrait_scale=portrait_scale,
                one_row_per_pass=apart,
            )
            said = [seen.clips_silent for _, seen in rows.passes]
            assert said == ([1] * silent + [0] if apart else [silent])
            for _, seen in rows.passes:
                assert seen.audio_tokens is not None
                assert not bool(seen.audio_tokens[: seen.clips_silent].any())
    (kept,) = guided_rows(reference, conditions, KEEP_ALL, scale=2.0).passes
    assert kept[1].clips_silent == 0


def test_one_pass_of_two_rows_equals_two_passes_of_one() -> None:
    reference, conditions = inputs()
    latents, timestep = torch.randn(1, 2, 3, 4, 4), torch.tensor(500)
    together = guided_rows(reference, conditions, GuidanceConfig(), scale=3.5)
    apart = guided_rows(reference, conditions, GuidanceConfig(), scale=3.5, one_row_per_pass=True)
    assert len(together.passes) == 1 and len(apart.passes) == 2
    torch.testing.assert_close(
        predict_guided(network, latents, timestep, together), predict_guided(network, latents, timestep, apart)
    )


def test_scale_one_is_the_conditional_network_alone() -> None:
    reference, conditions = inputs()
    latents, timestep = torch.randn(1, 2, 3, 4, 4), torch.tensor(500)
    rows = guided_rows(reference, conditions, GuidanceConfig(), scale=1.0)
    assert rows.rows_per_pass == 1 and len(rows.passes) == 1
    expected = network(latents, timestep.expand(1), reference, conditions)
    assert torch.equal(predict_guided(network, latents, timestep, rows), expected)


def test_guidance_extrapolates_from_the_unconditional_row() -> None:
    reference, conditions = inputs()
    latents, timestep = torch.randn(1, 2, 3, 4, 4), torch.tensor(500)
    zero, one, three = (
        predict_guided(network, latents, timestep, guided_rows(reference, conditions, GuidanceConfig(), scale=s))
        for s in (0.0, 1.0, 3.0)
    )
    torch.testing.assert_close(three, zero + 3.0 * (one - zero))


def test_absent_conditions_stay_absent() -> None:
    reference, _ = inputs()
    (stacked,) = guided_rows(reference, Conditions(), GuidanceConfig(), scale=2.0).passes
    assert stacked[1] == Conditions()


def test_three_rows_are_neither_portrait_and_both() -> None:
    reference, conditions = inputs()
    rows = guided_rows(reference, conditions, GuidanceConfig(reference="keep"), scale=2.0, portrait_scale=1.5)
    (stacked,) = rows.passes
    assert rows.rows_per_pass == 3
    for name, get in FIELDS.items():
        for three, original in zip(get(*stacked), get(reference, conditions), strict=True):
            neither, portrait, both = three.expand(3, *three.shape[1:]).split(1)
            assert torch.equal(both, original)
            nothing = torch.zeros_like(original)
            assert torch.equal(portrait, nothing if name in ("audio", "face_region") else original)
            assert torch.equal(neither, nothing if name in ("audio", "face_region", "reference") else original)


def test_two_scales_follow_the_equation_in_one_pass_and_in_three() -> None:
    reference, conditions = inputs()
    latents, timestep = torch.randn(1, 2, 3, 4, 4), torch.tensor(500)

    def predict(scale: float, portrait_scale: float, one: bool = False) -> torch.Tensor:
        rows = guided_rows(
            reference,
            conditions,
            GuidanceConfig(),
            scale=scale,
            portrait_scale=portrait_scale,
            one_row_per_pass=one,
        )
        assert len(rows.passes) == (3 if one else 1)
        return predict_guided(network, latents, timestep, rows)

    neither, portrait, both = predict(0.0, 0.0), predict(0.0, 1.0), predict(1.0, 1.0)
    expected = neither + 1.5 * (portrait - neither) + 3.0 * (both - portrait)
    torch.testing.assert_close(predict(3.0, 1.5), expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(predict(3.0, 1.5, one=True), expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(both, network(latents, timestep.expand(1), reference, conditions), atol=1e-4, rtol=1e-5)
    same = guided_rows(reference, conditions, GuidanceConfig(), scale=3.0)
    torch.testing.assert_close(
        predict(3.0, 3.0), predict_guided(network, latents, timestep, same), atol=1e-4, rtol=1e-5
    )


@pytest.mark.parametrize("portrait_scale", [None, 1.5])
def test_emphasis_weighs_the_voices_guidance_place_by_place(portrait_scale: float | None) -> None:
    reference, conditions = inputs()
    gain = torch.ones(1, 16, 1)
    gain[0, 8:] = 2.0
    latents, timestep = torch.randn(1, 2, 3, 4, 4), torch.tensor(500)
    table = GuidanceConfig(reference="keep")

    def predict(reference: ReferenceCache, scale: float, table: GuidanceConfig = table) -> torch.Tensor:
        rows = guided_rows(reference, conditions, table, scale=scale, portrait_scale=portrait_scale)
        return predict_guided(network, latents, timestep, rows)

    weighed = dataclasses.replace(reference, audio_gain=(gain,))
    rows = guided_rows(weighed, conditions, table, scale=2.0, portrait_scale=portrait_scale)
    assert rows.passes[0][0].audio_gain[0].unique().tolist() == [1.0]  # stronger: not weighed twice
    apart = guided_rows(weighed, conditions, table, scale=2.0, portrait_scale=portrait_scale, one_row_per_pass=True)
    assert all(float(seen.audio_gain[0].max()) == 1 for seen, _ in apart.passes) and apart.gain is not None
    weaker = dataclasses.replace(reference, audio_gain=(gain / 2,))
    rows = guided_rows(weaker, conditions, table, scale=2.0, portrait_scale=portrait_scale)
    assert rows.passes[0][0].audio_gain[0].unique().tolist() == [0.5, 1.0] and rows.gain is not None
    assert rows.gain.unique().tolist() == [0.5, 1.0]
    mixed = predict(weighed, 2.0)
    torch.testing.assert_close(mixed[..., :2, :], predict(reference, 2.0)[..., :2, :])
    torch.testing.assert_close(mixed[..., 2:, :], predict(reference, 4.0)[..., 2:, :])
    if portrait_scale is None:  # one scale for both: the portrait must not be weighed with the voice
        both = GuidanceConfig(reference="zero")
        assert torch.equal(predict(weighed, 2.0, both), predict(reference, 2.0, both))
        attention = guided_rows(weighed, conditions, both, scale=2.0).passes[0][0].audio_gain[0]
        assert torch.equal(attention, gain)
