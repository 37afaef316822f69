"""The training command from a folder of clips to weights that load and generate, at TINY size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import write_clips
from safetensors.torch import save_file

from emo_core.config import TINY, TINY_REFERENCED
from emo_core.errors import EmoInputError
from emo_core.training.command import main
from emo_core.training.latents import save_audio
from emo_core.training.records import write_weights
from emo_core.training.root import claim_root

pytest.importorskip("accelerate")
pytest.importorskip("numba")  # the reader of rendered clips lives beside the renderer

CLIPS, FRAMES, SIZE = 4, 10, TINY.clip.size


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A training folder as `heads`, `audio` and `voices` leave it, with coloured squares for heads."""
    rng = np.random.default_rng(0)
    claim_root(tmp_path)
    heads = tmp_path / "heads"
    heads.mkdir()
    pictures = rng.integers(0, 255, (CLIPS * FRAMES, SIZE // 16, SIZE // 16, 3), np.uint8)
    np.save(heads / "a.frames.npy", pictures.repeat(16, axis=1).repeat(16, axis=2))
    truth = np.zeros((CLIPS * FRAMES, 18), np.float32)
    truth[:, 0:4], truth[:, 4:8], truth[:, 8:12] = (16, 16, 48, 56), (24, 40, 40, 52), (20, 20, 44, 30)
    np.save(heads / "a.truth.npy", truth)
    clips = [
        {
            "file": "a",
            "start": i * FRAMES,
            "frames": FRAMES,
            "identity": i,
            "split": "train" if i else "test",
            "style": "still" if i % 2 else "talking",
            "utterance": f"train/{i}@0",
            "speed": 0.0,
        }
        for i in range(CLIPS)
    ]
    (heads / "clips.json").write_text(json.dumps(clips))
    encoder = TINY.audio_encoder
    shape = (FRAMES, encoder.layers, encoder.hidden_size)
    save_audio(tmp_path / "latents", {f"train/{i}": rng.normal(size=shape).astype(np.float16) for i in range(CLIPS)})
    return tmp_path


def run(step: str, root: Path, *more: str) -> None:
    fixed = ["--root", str(root), "--preset", "tiny", "--processes", "1", "--batch", "2", "--minutes", "0.02"]
    assert main([step, *fixed, *more]) == 0


def test_from_clips_to_weights_that_load_and_generate(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from emo_core import generate, load_model
    from emo_core.audio.encoder import AudioEncoder
    from emo_core.data import AudioFeatures, Portrait
    from emo_core.models.vae import VAE
    from emo_core.pipeline.reference import encode_reference
    from emo_core.training.checkpoint import load_shards
    from emo_core.training.clips import ClipDataset
    from emo_core.training.latents import encode_clips

    run("vae", root)
    (root / "audio").mkdir()
    save_file(AudioEncoder(TINY.audio_encoder).state_dict(), root / "audio" / "encoder.safetensors")
    encode_clips(VAE(TINY.vae), ClipDataset(root / "heads"), root / "latents")
    run("pose", root)
    run("stage1", root)
    run("stage2", root, "--single-frames", "--start-from", str(root / "stage1"))
    run("stage2", root, "--start-from", str(root / "stage2-frames"))
    run("stage3", root, "--start-from", str(root / "stage2"))
    run("export", root)

    model = load_model(root / "export", device="cpu")
    assert model.config == TINY
    picture = torch.rand(SIZE, SIZE, 3)
    portrait = Portrait(picture, (16, 16, 48, 56), (0, 0, SIZE, SIZE), picture)
    windows = torch.randn(6, 5, TINY.audio_encoder.layers, TINY.audio_encoder.hidden_size)
    clips = list(generate(model, encode_reference(model, portrait), AudioFeatures(windows, 25.0)))
    assert sum(len(clip.frames) for clip in clips) == 6

    run("export", root, "--start-from", str(root / "stage2"), "--average-with", str(root / "stage3"), "--overwrite")
    mean, last = load_model(root / "export", device="cpu").state_dict(), model.state_dict()
    first = load_shards(root / "stage2" / "checkpoint", "average")
    moved = [name for name in last if not torch.equal(first.get(f"model.{name}", last[name]), last[name])]
    assert moved
    for name in moved:
        middle = (first[f"model.{name}"] + last[name]) / 2
        assert torch.allclose(mean[name], middle, rtol=2e-3, atol=1e-5), name

    run("restore", root, "--start-from", str(root / "export"), "--overwrite")
    run("stage3", root, "--start-from", str(root / "restored"), "--seed", "1")
    # Seen: weights were restored, --start-from was forgotten, and an hour's training began anew without a word.
    capfd.readouterr()
    (root / "stage2-frames").rename(root / "kept")
    run("stage2", root, "--single-frames", "--start-from", str(root / "restored"))
    run("stage2", root, "--single-frames")  # goes on from its own
    assert "untrained" not in capfd.readouterr().err
    (root / "stage2-frames").rename(root / "kept-too")
    run("stage2", root, "--single-frames")
    (told,) = [line for line in capfd.readouterr().err.splitlines() if "untrained" in line]
    assert f"--start-from {root / 'restored'}" in told


def test_from_puppets_and_heads_to_a_network_that_is_given_the_portrait(tmp_path: Path) -> None:
    from emo_core import generate, load_model
    from emo_core.audio.encoder import AudioEncoder
    from emo_core.data import AudioFeatures, Portrait
    from emo_core.models.vae import VAE
    from emo_core.pipeline.reference import encode_reference
    from emo_core.training.clips import HEADS, ClipDataset
    from emo_core.training.latents import encode_clips

    config, preset = TINY_REFERENCED, ("--preset", "tiny-referenced")
    claim_root(tmp_path)
    vae, encoder = VAE(config.vae), AudioEncoder(config.audio_encoder)
    write_weights(vae, tmp_path / "vae" / "vae.safetensors")
    write_weights(encoder, tmp_path / "audio" / "encoder.safetensors")
    folders = [write_clips(tmp_path / "puppets", 3, config.vae.size)]
    folders += [write_clips(tmp_path / "heads", 3, config.vae.size, kind=HEADS)]
    encode_clips(vae, ClipDataset(folders), tmp_path / "latents")
    sound = np.zeros((10, config.audio_encoder.layers, config.audio_encoder.hidden_size), np.float16)
    save_audio(tmp_path / "latents", {f"train/{i}": sound for i in range(3)})
    run("pose", tmp_path, *preset)
    run("stage2", tmp_path, *preset)
    run("sampled", tmp_path, *preset, "--start-from", str(tmp_path / "stage2"))
    run("vae", tmp_path, *preset, "--decoder-only")
    run("export", tmp_path, *preset, "--start-from", str(tmp_path / "stage2"))
    model = load_model(tmp_path / "export", device="cpu")
    picture = torch.rand(2 * config.vae.size, 2 * config.vae.size, 3)
    portrait = Portrait(picture, (32, 32, 96, 112), (0, 0, *picture.shape[:2]), picture)
    windows = torch.randn(6, 5, config.audio_encoder.layers, config.audio_encoder.hidden_size)
    clips = list(generate(model, encode_reference(model, portrait), AudioFeatures(windows, 25.0)))
    assert sum(len(clip.frames) for clip in clips) == 6
    assert {tuple(clip.frames.shape[1:3]) for clip in clips} == {tuple(picture.shape[:2])}  # the portrait's own pixels


def test_another_presets_weights_give_what_both_networks_have_alike(tmp_path: Path) -> None:
    from emo_core.models.emo import EmoModel
    from emo_core.training.checkpoint import load_shards
    from emo_core.training.growth import load_grown
    from emo_core.weights.save import save_model

    model = EmoModel(TINY)
    save_model(model, tmp_path / "tiny")
    run("restore", tmp_path / "root", "--preset", "tiny-referenced", "--start-from", str(tmp_path / "tiny"))
    assert (tmp_path / "root" / "audio" / "encoder.safetensors").exists()  # the same one
    assert not (tmp_path / "root" / "vae").exists() and not (tmp_path / "root" / "pose").exists()
    restored = load_shards(tmp_path / "root" / "restored" / "checkpoint", "average")
    other = dict(EmoModel(TINY_REFERENCED).named_parameters())
    latent_layers = ("backbone.conv_in.", "backbone.conv_out.", "reference_net.conv_in.")
    assert not any(layer in name for layer in latent_layers for name in restored)
    grown = EmoModel(TINY_REFERENCED)
    load_grown(grown, {name.removeprefix("model."): value for name, value in restored.items()})
    silent = [p for name, p in grown.named_parameters() if "motion_modules" in name and ".proj_out." in name]
    assert silent and not any(bool(parameter.any()) for parameter in silent)
    twin = [name for name in restored if name.startswith("model.reference_net.")]
    assert twin and len(restored) > 3 * len(twin)
    for name, value in restored.items():
        plain = name.removeprefix("model.")
        source = plain.replace("reference_net.", "backbone.")
        assert value.shape == other[plain].shape
        assert torch.allclose(value, model.get_parameter(source), atol=1e-3), name


def test_stage_3_leaves_what_it_does_not_train_as_it_was(root: Path) -> None:
    from emo_core.models.vae import VAE
    from emo_core.training.checkpoint import load_shards
    from emo_core.training.clips import ClipDataset
    from emo_core.training.latents import encode_clips

    encode_clips(VAE(TINY.vae), ClipDataset(root / "heads"), root / "latents")
    run("pose", root)
    run("stage2", root)
    run("stage3", root, "--start-from", str(root / "stage2"))
    before, after = (load_shards(root / s / "checkpoint", "average") for s in ("stage2", "stage3"))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("motion_modules" in name or "speed" in name for name in changed)


def test_a_stage_without_its_posed_portrait_says_so(root: Path) -> None:
    with pytest.raises(EmoInputError, match="train pose"):
        run("stage1", root)


def test_a_preset_that_turns_no_portrait_has_no_such_step(root: Path) -> None:
    with pytest.raises(EmoInputError, match="emo-sd15"):
        main(["pose", "--root", str(root), "--preset", "emo-sd15", "--processes", "1"])


def test_a_stage_without_its_start_says_so(root: Path) -> None:
    with pytest.raises(EmoInputError, match="no folder"):
        run("stage3", root, "--start-from", str(root / "nowhere"))
    with pytest.raises(EmoInputError, match="no checkpoint"):
        run("stage3", root, "--start-from", str(root / "heads"))
    with pytest.raises(EmoInputError, match=r"--audio-was: found no --start-from"):
        run("stage3", root, "--audio-was", str(root / "heads"))


@pytest.mark.parametrize(
    "wrong",
    [
        *("still-share nan", "crops 1.5", "motion-patch-drop 2", "mouth-weight nan", "eye-weight -1", "size 0"),
        *("seed 99999999999999999999", "seed -1", "minutes nan"),
    ],
)
def test_numbers_that_cannot_be_are_told_before_any_work(tmp_path, wrong):
    name, value = wrong.split()
    with pytest.raises(EmoInputError, match=f"--{name}: found"):
        main(["stage1", "--root", str(tmp_path / "runs"), f"--{name}={value}"])
    assert not (tmp_path / "runs").exists()
