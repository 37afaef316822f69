"""Several steps write the same weights: none of them undoes without a word what another has done since."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import write_clips

from emo_core.config import TINY_REFERENCED as CONFIG
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.models.vae import VAE
from emo_core.training.checkpoint import load_counters
from emo_core.training.clips import ClipDataset
from emo_core.training.command import main
from emo_core.training.latents import encode_clips, save_audio
from emo_core.training.records import write_weights
from emo_core.training.root import claim_root
from emo_core.weights.save import save_model

pytest.importorskip("accelerate")

UNDONE = r"which something else wrote since .*checkpoint.* aside .*--start-from .*--overwrite"

MINUTES = 0.004


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A training folder with what the VAE and `pose` learn from."""
    root = tmp_path / "root"
    claim_root(root)
    clips = ClipDataset([write_clips(root / "puppets", 3, CONFIG.vae.size)])
    encode_clips(VAE(CONFIG.vae), clips, root / "latents")
    sound = np.zeros((10, CONFIG.audio_encoder.layers, CONFIG.audio_encoder.hidden_size), np.float16)
    save_audio(root / "latents", {f"train/{i}": sound for i in range(3)})
    return root


def run(step: str, root: Path, *more: str, minutes: float = MINUTES) -> None:
    fixed = ["--root", str(root), "--preset", "tiny-referenced", "--processes", "1", "--batch", "2"]
    assert main([step, *fixed, "--minutes", str(minutes), *more]) == 0


def longer(root: Path, step: str) -> float:
    """Minutes for a few more steps: on a busy machine the first alone may take longer than was asked for."""
    return load_counters(root / step / "checkpoint").trained_s / 60 + MINUTES


def refused(step: str, path: Path, root: Path, *more: str, minutes: float = MINUTES, match: str = UNDONE) -> None:
    before = path.read_bytes()
    with pytest.raises(EmoInputError, match=match):
        run(step, root, *more, minutes=minutes)
    assert path.read_bytes() == before


def test_a_vae_that_goes_on_undoes_no_decoder_and_a_decoder_no_vae(root: Path) -> None:
    path = root / "vae" / "vae.safetensors"
    run("vae", root)
    run("vae", root)  # its own, and all its minutes are used
    first = path.read_bytes()
    run("vae", root, "--decoder-only")
    improved = path.read_bytes()
    assert improved != first
    refused("vae", path, root)
    run("vae", root, "--decoder-only", minutes=longer(root, "vae-decoder"))  # which its own checkpoint belongs to
    assert path.read_bytes() != improved
    run("vae", root, "--overwrite", minutes=longer(root, "vae"))
    run("vae", root, minutes=longer(root, "vae"))  # its own again
    refused("vae", path, root, "--decoder-only", minutes=longer(root, "vae-decoder"))
    (root / "vae-decoder" / "checkpoint").rename(root / "vae-decoder" / "aside")
    encoder = encoder_of(path)
    run("vae", root, "--decoder-only")
    assert all(torch.equal(value, encoder_of(path)[name]) for name, value in encoder.items())


def encoder_of(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return {name: value for name, value in load_file(path).items() if ".encoder." in name}


def test_what_a_run_that_trains_nothing_would_write_stays_as_it_lies(root: Path) -> None:
    path = root / "vae" / "vae.safetensors"
    run("vae", root)
    before = path.stat()
    run("vae", root)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    path.unlink()
    run("vae", root)  # as after a run that was killed before its last line
    assert path.exists()


def test_a_decoder_of_elsewhere_replaces_no_vae_unless_asked(root: Path, tmp_path: Path) -> None:
    path, other = root / "vae" / "vae.safetensors", tmp_path / "other"
    torch.manual_seed(1)
    write_weights(VAE(CONFIG.vae), path)
    write_weights(VAE(CONFIG.vae), other / "vae.safetensors")
    elsewhere = ("--decoder-only", "--start-from", str(other))
    refused("vae", path, root, *elsewhere, match=r"vae.safetensors, which exists.*--overwrite")
    run("vae", root, *elsewhere, "--overwrite")
    run("vae", root, "--start-from", str(root / "vae"))  # what lies there itself


@pytest.mark.parametrize(("step", "file"), [("vae", "vae.safetensors"), ("pose", "posed_portrait.safetensors")])
def test_what_restore_put_there_is_not_undone(step: str, file: str, root: Path, tmp_path: Path) -> None:
    save_model(EmoModel(CONFIG), tmp_path / "model")
    run(step, root)
    run("restore", root, "--start-from", str(tmp_path / "model"), "--overwrite")
    refused(step, root / step / file, root, minutes=longer(root, step))
    counters = root / step / "checkpoint" / "counters.json"
    said = json.loads(counters.read_text())
    del said["known"]  # as versions before wrote it: nobody can tell
    counters.write_text(json.dumps(said))
    run(step, root, minutes=longer(root, step))
    assert load_counters(counters.parent).known


def test_weights_that_came_while_a_run_was_killed_are_not_undone(root: Path) -> None:
    """The run began where nothing lay."""
    path = root / "vae" / "vae.safetensors"
    run("vae", root)
    counters = root / "vae" / "checkpoint" / "counters.json"
    counters.write_text(json.dumps(json.loads(counters.read_text()) | {"known": []}))  # not at its end yet
    refused("vae", path, root)


def test_the_audio_encoder_may_begin_with_the_file_that_it_replaces(root: Path) -> None:
    """The very thing that the sentence about an undone result advises."""
    path = root / "audio" / "encoder.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"of another run")
    refused("audio", path, root, match="root: found .*which exists")
    refused("audio", path, root, "--start-from", str(path.parent), match="voice corpus: found no shards")
