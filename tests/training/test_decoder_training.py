"""Training of the decoder that is given the portrait, on clips of known flow: rows are true, the flow is found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import FRAMES, write_clips

from emo_core.config import TINY_REFERENCED
from emo_core.errors import EmoInputError
from emo_core.models.flow import read_along, resized
from emo_core.models.vae import VAE
from emo_core.training.clips import HEADS, PUPPETS, ClipDataset
from emo_core.training.decoder import DecoderBatches, DecoderLoss, DecoderStep, Drawing, decoder_psnr
from emo_core.training.loop import Batch

SIZE = TINY_REFERENCED.vae.size
NOT_DONE = torch.zeros(1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipDataset:
    root = tmp_path_factory.mktemp("clips")
    return ClipDataset([write_clips(root / PUPPETS, 5, SIZE), write_clips(root / HEADS, 3, SIZE, kind=HEADS, seed=50)])


def drawn(clips: ClipDataset, drawing: Drawing | None = None, *, batch: int = 8, step: int = 0, seed: int = 0) -> Batch:
    loss, drawing = DecoderLoss(), drawing or Drawing()
    return DecoderBatches(clips, batch, size=SIZE, loss=loss, drawing=drawing, seed=seed)(step, 0)


ONLY_KNOWN = Drawing(heads_share=0.0, reference_share=1.0, noise=0.0, rough_share=0.0)


def test_the_flow_of_a_row_carries_its_portrait_to_its_target_mirrored_or_not(clips: ClipDataset) -> None:
    batch = drawn(clips, ONLY_KNOWN, batch=16)
    assert bool((batch["known"] == 1).all())
    carried = read_along(batch["portrait"], resized(batch["flow"], SIZE, SIZE))
    shown = torch.nn.functional.interpolate(batch["visible"], size=SIZE, mode="nearest")
    away = (carried - batch["target"]).abs() * shown
    copied = (batch["portrait"] - batch["target"]).abs() * shown
    assert float(away.mean()) < 0.01 < 0.05 < float(copied.mean())


def test_rows_are_drawn_by_step_and_never_from_the_test_split(clips: ClipDataset) -> None:
    one, same, other = drawn(clips, step=3), drawn(clips, step=3), drawn(clips, step=4)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["target"], other["target"])
    batches = DecoderBatches(clips, 1, size=SIZE, loss=DecoderLoss(), drawing=Drawing())
    assert (batches.others, batches.heads) == ([0, 1, 2, 3], [5, 6])


def test_kinds_are_mixed_by_their_share_and_heads_tell_no_flow(clips: ClipDataset) -> None:
    known = [
        float(drawn(clips, Drawing(heads_share=share, reference_share=1.0), batch=64)["known"].mean())
        for share in (0.0, 0.5, 1.0)
    ]
    assert known[0] == 1 and 0.3 < known[1] < 0.7 and known[2] == 0
    frames_only = drawn(clips, Drawing(heads_share=0.0, reference_share=0.0), batch=8)
    assert not frames_only["known"].any()  # a flow from the reference is none from another frame


def test_portrait_and_target_are_under_one_light_and_some_are_grey(clips: ClipDataset) -> None:
    grey = drawn(clips, dataclasses.replace(ONLY_KNOWN, grey_share=1.0))
    for name in ("portrait", "target"):
        assert torch.allclose(grey[name][:, 0], grey[name][:, 1])


@pytest.mark.parametrize("drawing", [Drawing(), Drawing(noise=0.02)])
def test_noise_is_little_and_in_some_rows_more(clips: ClipDataset, drawing: Drawing) -> None:
    noise = drawn(clips, drawing, batch=64)["noise"].flatten()
    assert float(noise.max()) <= drawing.noise * drawing.rougher
    assert 0 < float((noise > drawing.noise).float().mean()) < 0.3


def test_patches_hold_mouth_and_eyes(clips: ClipDataset) -> None:
    batch = drawn(clips, ONLY_KNOWN, batch=16)
    side = SIZE // 4
    assert batch["corners"].shape == (16, 2, 2)
    for row in range(16):
        for (left, top), weight in zip(
            batch["corners"][row].tolist(), (DecoderLoss.mouth, DecoderLoss.eyes), strict=True
        ):
            assert 0 <= left <= SIZE - side and 0 <= top <= SIZE - side
            assert float(batch["weight"][row, :, top : top + side, left : left + side].max()) >= weight


def step_of(loss: DecoderLoss | None = None) -> DecoderStep:
    torch.manual_seed(0)
    return DecoderStep(VAE(TINY_REFERENCED.vae), loss)


def test_the_flow_is_asked_for_less_and_less(clips: ClipDataset) -> None:
    step, batch = step_of(DecoderLoss(flow_until=0.4)), drawn(clips, ONLY_KNOWN)
    asked = [float(step(batch | {"done": torch.tensor([done])})[1]["flow"]) for done in (0.0, 0.2, 0.4, 1.0)]
    assert asked[1] == pytest.approx(asked[0] / 2, rel=0.01) and asked[0] > 0.1 and asked[2:] == [0.0, 0.0]
    unknown = drawn(clips, Drawing(heads_share=1.0))
    parts = step(unknown | {"done": NOT_DONE})[1]
    assert float(parts["flow"]) == float(parts["kept"]) == 0.0


def test_it_learns_to_carry_and_to_paint(clips: ClipDataset) -> None:
    """Two hundred steps on a held batch bring it well below a copy of the portrait, and the flow near the truth."""
    step, batch = step_of(), drawn(clips, ONLY_KNOWN, batch=4) | {"done": NOT_DONE}
    optimizer = torch.optim.AdamW(step.parameters(), lr=5e-3)
    first: dict[str, float] = {}
    for _ in range(200):
        loss, parts = step(batch)
        first = first or {name: float(value) for name, value in parts.items()}
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(step.parameters(), 1.0)
        optimizer.step()
    assert float(parts["flow"]) < 0.3 * first["flow"]
    assert float(parts["error"]) < 0.4 * first["error"]
    assert float(parts["painted"]) < 0.7 * first["painted"]
    assert 0.5 < float(parts["latent_std"]) < 1.5


def test_the_patch_loss_judges_only_what_is_painted(clips: ClipDataset) -> None:
    """Neither mask nor flow is moved by it, nor the critic by the decoder's side."""
    step = step_of(DecoderLoss(patches=1.0))
    batch = drawn(clips, ONLY_KNOWN) | {"done": torch.ones(1)}
    for layer in (step.vae.autoencoder.decoder.last_flow,):
        torch.nn.init.normal_(layer.weight, std=0.1)
    _, logged = step(batch)
    assert {"patches", "critic"} <= set(logged)
    plain = step_of()
    plain.vae.load_state_dict(step.vae.state_dict())
    gradients = []
    for each in (step, plain):
        torch.manual_seed(1)
        each(batch)[0].backward()
        decoder = each.vae.autoencoder.decoder
        gradients.append((decoder.last_flow.weight.grad.clone(), decoder.last.weight.grad.clone()))
    assert torch.allclose(gradients[0][0], gradients[1][0], atol=1e-7)
    painted = (gradients[0][1] - gradients[1][1]).flatten(1).abs().amax(1)
    assert bool((painted[:48] > 0).all()) and float(painted[48:].max()) < 1e-7
    assert step.patches is not None
    assert all(bool(p.grad is not None and p.grad.any()) for p in step.patches.parameters())


def test_psnr_is_told_by_kind_and_of_a_still_face_perfect(clips: ClipDataset, tmp_path: Path) -> None:
    vae = VAE(TINY_REFERENCED.vae)
    measured = decoder_psnr(vae, clips, split="test", frames=4)
    assert set(measured) == {f"{kind}_{part}" for kind in (HEADS, PUPPETS) for part in ("whole", "mouth", "eyes")}
    assert measured["puppets_mouth"] < measured["puppets_whole"] < 40
    entry = clips.clips[0]
    frames = np.load(write_clips(tmp_path / "still", 1, SIZE) / "shard-0000.frames.npy", mmap_mode="r+")
    frames[:] = np.load(tmp_path / "still" / "shard-0000.reference.npy")
    assert entry["frames"] == FRAMES and decoder_psnr(vae, ClipDataset(tmp_path / "still"), split="test")[
        "puppets_whole"
    ] == pytest.approx(120, abs=30)


def test_clips_of_another_size_or_split_are_refused(clips: ClipDataset, tmp_path: Path) -> None:
    with pytest.raises(EmoInputError, match=f"found {SIZE}x{SIZE} pixels; expected 32x32, the VAE's size"):
        DecoderBatches(clips, 1, size=32, loss=DecoderLoss(), drawing=Drawing())
    alone = ClipDataset(write_clips(tmp_path / PUPPETS, 1, SIZE))
    with pytest.raises(EmoInputError, match="clips: found none to train on"):
        DecoderBatches(alone, 1, size=SIZE, loss=DecoderLoss(), drawing=Drawing())


def test_the_command_trains_goes_on_and_sharpens(tmp_path: Path) -> None:
    """`train vae`: from clips to weights; then the decoder alone, with the patch loss; latents stay what they were."""
    pytest.importorskip("accelerate")
    pytest.importorskip("numba")
    from safetensors.torch import load_file

    from emo_core.training.command import main
    from emo_core.training.root import claim_root

    claim_root(tmp_path)
    write_clips(tmp_path / PUPPETS, 3, SIZE)
    fixed = ["--root", str(tmp_path), "--preset", "tiny-referenced", "--processes", "1", "--batch", "2"]
    assert main(["vae", *fixed, "--minutes", "0.02"]) == 0
    counted = json.loads((tmp_path / "vae" / "checkpoint" / "counters.json").read_text())
    more = counted["trained_s"] / 60 + 0.02  # on a busy machine the first step alone may take longer than was asked for
    assert main(["vae", *fixed, "--minutes", f"{more}"]) == 0
    assert json.loads((tmp_path / "vae" / "checkpoint" / "counters.json").read_text())["step"] > counted["step"]
    before = load_file(tmp_path / "vae" / "vae.safetensors")
    VAE(TINY_REFERENCED.vae).load_state_dict(before)
    assert (
        main(["vae", *fixed, "--minutes", "0.02", "--decoder-only", "--patch-loss", "0.1", "--latent-noise", "0"]) == 0
    )
    after = load_file(tmp_path / "vae" / "vae.safetensors")
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed and not any(name.startswith("autoencoder.encoder.") for name in changed)


@pytest.mark.parametrize(
    "wrong", [("--heads-share", "2"), ("--patch-loss", "-1"), ("--latent-noise", "-1"), ("--sampled-share", "1.5")]
)
def test_options_that_cannot_be_are_refused(wrong: tuple[str, str], tmp_path: Path) -> None:
    from emo_core.training.command import main

    with pytest.raises(EmoInputError, match=wrong[0]):
        main(["vae", "--root", str(tmp_path / "root"), *wrong])
