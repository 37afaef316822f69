"""The three stages on TINY: what each trains, what its loss hears, and batches that the network expects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emo_core.config import TINY
from emo_core.models.emo import EmoModel
from emo_core.training.batches import AT_REST_DEG, Pools, Sampling, StageBatches, at_rest
from emo_core.training.clips import HEADS, PUPPETS
from emo_core.training.latents import LatentClip, latent_weight
from emo_core.training.stages import (
    RANGE,
    STAGES,
    StageStep,
    audio_gap,
    audio_gaps,
    beyond_range,
    is_part,
    optimizer_groups,
    select_trainable,
    trainable_names,
)

M = TINY.audio_projection.window
SIZE = TINY.clip.size // TINY.vae.downscale


def clip(seed: int, style: str, frames: int = 12) -> LatentClip:
    rng = np.random.default_rng(seed)
    encoder = TINY.audio_encoder
    box = np.tile(np.array([20, 20, 44, 50], np.float32), (frames, 1))
    return LatentClip(
        latents=rng.normal(size=(frames, TINY.vae.latent_channels, SIZE, SIZE)).astype(np.float16),
        audio=rng.normal(size=(frames + 2 * M, encoder.layers, encoder.hidden_size)).astype(np.float16),
        face_box=box,
        mouth_box=box + np.array([4, 16, -4, 0], np.float32),
        eye_box=box + np.array([0, 4, 0, -20], np.float32),
        speed=rng.uniform(0, 2, frames).astype(np.float32),
        rotation_deg=np.outer(np.arange(frames) % 6, (0, 1, 0)).astype(np.float32),  # leaves rest, comes back
        style=style,
        size=TINY.clip.size,
    )


class Clips:
    clips = tuple(clip(i, "still" if i % 2 else "talking") for i in range(4))


@pytest.fixture
def model() -> EmoModel:
    torch.manual_seed(0)
    model = EmoModel(TINY)
    for parameter in model.parameters():  # zero-initialised projections would hide a missing gradient
        if not parameter.abs().sum():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def batches(stage: int, rows: int = 3) -> StageBatches:
    return StageBatches(Clips(), TINY, STAGES[stage], sampling=Sampling(batch=rows))  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_gradients_reach_every_trainable_tensor_and_no_other(model: EmoModel, stage: int) -> None:
    select_trainable(model, STAGES[stage])
    step = StageStep(model, STAGES[stage])
    batch = batches(stage)(0, 0)
    for name in ("keep_audio", "keep_reference", "keep_speed", "keep_motion"):
        batch[name] = torch.ones_like(batch[name])
    batch["face_region"][..., :8] = 0  # an all-white region is no guidance and trains no locator
    loss, _ = step(batch)
    loss.backward()
    wanted = set(trainable_names(model, STAGES[stage]))
    reached = {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    assert reached == wanted


def test_stage_3_trains_only_temporal_modules_and_speed_layers(model: EmoModel) -> None:
    names = set(trainable_names(model, STAGES[3]))
    assert names and all(is_part(name, ("motion_modules.", "speed")) for name in names)
    assert any(name.startswith("speed_layers.") for name in names)


def test_no_stage_trains_the_vae_or_the_audio_encoder(model: EmoModel) -> None:
    for settings in STAGES.values():
        assert not any(n.startswith(("vae.", "audio_encoder.")) for n in trainable_names(model, settings))


def test_the_same_step_draws_the_same_batch_and_ranks_differ() -> None:
    a, b, other = batches(2)(5, 0), batches(2)(5, 0), batches(2)(5, 1)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["noise"], other["noise"])


def test_batch_shapes() -> None:
    batch = batches(2)(0, 0)
    f, n, c = TINY.clip.frames, TINY.clip.motion_frames, TINY.vae.latent_channels
    assert batch["target"].shape == (3, f, c, SIZE, SIZE) == batch["noise"].shape
    assert batch["motion"].shape == (3, n, c, SIZE, SIZE)
    assert batch["audio"].shape[:3] == (3, f, 2 * M + 1)
    assert batch["face_region"].shape == (3, 1, 1, TINY.clip.size, TINY.clip.size)
    assert batches(1)(0, 0)["target"].shape[1] == STAGES[1].frames_per_portrait


def test_two_fifths_of_the_timesteps_are_in_the_noisiest_third() -> None:
    drawn = torch.cat([batches(1, rows=64)(step, 0)["timesteps"] for step in range(20)])
    assert 0.35 < float((drawn >= 667).float().mean()) < 0.45
    assert int(drawn.min()) >= 0 and int(drawn.max()) <= 999


def test_half_of_the_rows_hear_their_mean_speed() -> None:
    drawn = torch.cat([batches(3, rows=64)(step, 0)["speed"] for step in range(4)])
    constant = (drawn.amax(1) - drawn.amin(1)) < 1e-6
    assert 0.35 < float(constant.float().mean()) < 0.65


def test_rows_without_motion_frames_start_at_their_portrait() -> None:
    settings = replace(STAGES[2], motion_noise=0.0)
    batch = StageBatches(Clips(), TINY, settings, sampling=Sampling(batch=64))(0, 0)  # type: ignore[arg-type]
    starts = batch["keep_motion"] == 0
    assert bool(starts.any())
    assert torch.equal(batch["portrait"][starts], batch["motion"][starts, -1])


def test_portraits_are_at_rest() -> None:
    assert at_rest(Clips.clips[0]).tolist() == [0, 1, 2, 6, 7, 8]
    batch = batches(2, rows=64)(0, 0)
    resting = torch.cat([torch.from_numpy(c.latents[at_rest(c)].astype(np.float32)) for c in Clips.clips])
    drawn = (batch["portrait"][:, None] == resting[None]).flatten(2).all(2).any(0)
    assert int(drawn.sum()) > len(resting) / 2
    assert bool((batch["portrait"][:, None] == resting[None]).flatten(2).all(2).any(1).all())


def test_rows_without_motion_frames_start_as_their_photograph_holds_the_head() -> None:
    class Photographs:
        clips = tuple(
            replace(clip(i, "talking"), portrait=np.full((TINY.vae.latent_channels, SIZE, SIZE), i, np.float16))
            for i in range(3)
        )

    batch = StageBatches(Photographs(), TINY, STAGES[2], sampling=Sampling(batch=128))(0, 0)  # type: ignore[arg-type]
    photograph = (batch["portrait"] == batch["portrait"][:, :1, :1, :1]).flatten(1).all(1)
    assert 0.6 < float(photograph.float().mean()) < 0.9
    starts = photograph & (batch["keep_motion"] == 0)
    assert bool(starts.any()) and bool((batch["pose"][starts, 0].norm(dim=-1) <= AT_REST_DEG).all())
    yaw = batch["pose"][photograph, :, 1]  # away from the photograph's: as the clips say
    assert bool(((yaw >= 0) & (yaw <= 5)).all()) and float(yaw.amax()) == 5


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_heads_have_their_share_of_the_rows(share: float) -> None:
    people = [replace(Clips.clips[0], kind=PUPPETS), *Clips.clips]
    rng = np.random.default_rng(0)
    drawn = Pools(people, share)
    found = np.mean([drawn.draw(rng).kind == HEADS for _ in range(400)])
    assert abs(found - share) < 0.07
    assert Pools(people[:1], share).draw(rng).kind == PUPPETS and Pools(people[1:], share).draw(rng).kind == HEADS
    assert not Pools([], share)


def test_motion_frames_lose_patches_outside_the_face_alone() -> None:
    def drawn(rate: float) -> dict[str, torch.Tensor]:
        settings = replace(STAGES[2], motion_noise=0.0, motion_patch_drop=rate, drop_face_region=0.0)
        return StageBatches(Clips(), TINY, settings, sampling=Sampling(batch=32))(0, 0)  # type: ignore[arg-type]

    plain, dropped = drawn(0.0), drawn(0.5)
    changed = (plain["motion"] != dropped["motion"]).any(2)
    inside = torch.nn.functional.adaptive_avg_pool2d(plain["face_region"][:, 0], (SIZE, SIZE)) >= 0.5
    assert not bool((changed & inside).any())
    portrait = plain["portrait"].unsqueeze(1).expand_as(plain["motion"])
    outside = ~inside.expand_as(changed) & (portrait != plain["motion"]).any(2)  # some motion frames are the portrait
    assert 0.4 < float(changed[outside].float().mean()) < 0.6
    where = changed.unsqueeze(2).expand_as(portrait)
    assert torch.equal(dropped["motion"][where], portrait[where])
    assert all(torch.equal(plain[name], dropped[name]) for name in plain if name != "motion")


def test_loss_weight_is_the_share_of_a_cell_inside_the_box() -> None:
    weight = latent_weight(Clips.clips[0], np.array([0]), mouth=10.0, eyes=0.0)
    box = Clips.clips[0].mouth_box[0]
    area = (box[2] - box[0]) * (box[3] - box[1]) / TINY.vae.downscale**2
    assert float((weight - 1).sum()) == pytest.approx(10.0 * area, rel=1e-5)


def test_audio_gap_is_zero_for_a_network_that_ignores_the_audio(model: EmoModel) -> None:
    step = StageStep(model, STAGES[2])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_part(name, (".attn2.to_out", "audio_time.out")):
                parameter.zero_()
    batch = batches(2)(0, 0)
    assert audio_gap(step, batch)["gap"] == pytest.approx(0.0, abs=1e-6)


def test_maps_beyond_the_range_are_drawn_back_and_others_left_alone(model: EmoModel) -> None:
    step, batch = StageStep(model, STAGES[2]), batches(2)(0, 0)
    batch["keep_motion"] = torch.ones_like(batch["keep_motion"])
    assert float(step(batch)[1]["beyond_range"]) == 0
    with torch.no_grad():  # two octaves, wherever the map before was
        features = step.reference_features(batch)
        last = list(features.motion)[-1]
        loud = replace(
            features,
            motion=features.motion | {last: features.motion[last] * 4 * RANGE / features.motion[last].abs().amax()},
        )
    assert float(beyond_range(loud)) == pytest.approx(2, abs=1e-4)
    for parameter in model.reference_net.parameters():
        parameter.data *= 40
    select_trainable(model, STAGES[2])
    optimizer = torch.optim.Adam([p for p in model.reference_net.parameters() if p.requires_grad], lr=1e-2)
    before = float(beyond_range(step.reference_features(batch)).detach())
    for _ in range(20):
        optimizer.zero_grad()
        beyond_range(step.reference_features(batch)).backward()
        optimizer.step()
    assert before > 0 and float(beyond_range(step.reference_features(batch)).detach()) < before


def test_a_batch_in_which_every_row_begins_a_video_has_a_gradient(model: EmoModel) -> None:
    """Its motion maps are all zero, of which a logarithm would make no number."""
    step, batch = StageStep(model, STAGES[2]), batches(2)(0, 0)
    select_trainable(model, STAGES[2])
    batch["keep_motion"] = torch.zeros_like(batch["keep_motion"])
    step(batch)[0].backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_each_kind_of_people_is_listened_to_by_itself(model: EmoModel) -> None:
    step = StageStep(model, STAGES[2])
    heads, puppets = batches(2)(0, 0), batches(2)(1, 0)
    gaps = audio_gaps(step, {"heads": heads, "puppets": puppets})
    assert gaps["heads_gap"] == audio_gap(step, heads)["gap"] != gaps["puppets_gap"]


def test_audio_gap_hears_audio(model: EmoModel) -> None:
    assert abs(audio_gap(StageStep(model, STAGES[2]), batches(2)(0, 0))["gap"]) > 1e-5


def test_snr_weight_keeps_pure_noise_and_lowers_clean(model: EmoModel) -> None:
    alpha = torch.tensor([0.0, 0.5, 0.99])
    weights = {}
    for kind in ("v_prediction", "sample"):
        model.config = replace(TINY, schedule=replace(TINY.schedule, prediction_type=kind))
        weights[kind] = StageStep(model, STAGES[2]).snr_weight(alpha)
        assert float(weights[kind][0]) == pytest.approx(1.0)
    assert float(weights["v_prediction"][2]) < 0.1
    # The same loss in other words: an error of the sample is an error of v times sqrt(1 - alpha).
    assert torch.allclose(weights["sample"] * (1 - alpha), weights["v_prediction"], atol=1e-6)


def test_the_audio_path_learns_faster(model: EmoModel) -> None:
    select_trainable(model, STAGES[2])
    groups = optimizer_groups(model, fast_lr_scale=3.0)
    assert [g["lr_scale"] for g in groups] == [1.0, 3.0]
    count = sum(len(g["params"]) for g in groups)  # type: ignore[arg-type]
    assert count == len(set(trainable_names(model, STAGES[2])))
