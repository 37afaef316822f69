"""Latents remember which VAE and audio encoder made them, and the steps that learn from them tell of others."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from made_clips import write_clips
from safetensors.torch import load_file

from emo_core.audio.encoder import AudioEncoder
from emo_core.config import TINY, VAEConfig
from emo_core.config import TINY_REFERENCED as CONFIG
from emo_core.models.vae import ENCODING, VAE
from emo_core.training.clips import HEADS
from emo_core.training.command import main, train_vae
from emo_core.training.options import Options, build_parser
from emo_core.training.origin import is_other, write_origin
from emo_core.training.records import write_weights
from emo_core.training.root import claim_root
from emo_core.training.voices import build_corpus

pytest.importorskip("accelerate")

TOLD, LEARNT = "was made with another", "has learnt from other latents"


@pytest.mark.skipif(shutil.which("flite") is None, reason="voices are flite's")
def test_what_learns_from_latents_of_other_networks_tells_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    claim_root(root)
    vae, encoder = root / "vae" / "vae.safetensors", root / "audio" / "encoder.safetensors"
    write_weights(VAE(CONFIG.vae), vae)
    write_weights(AudioEncoder(CONFIG.audio_encoder), encoder)
    write_clips(root / "puppets", 3, CONFIG.vae.size)
    build_corpus(root / "voices", minutes=0.2, splits=("train",), processes=1)

    def told(step: str, *more: str, what: str = TOLD) -> list[str]:
        capfd.readouterr()
        fixed = ["--root", str(root), "--preset", "tiny-referenced", "--processes", "1", "--batch", "2"]
        assert main([step, *fixed, "--minutes", "0.002", *more]) == 0
        return [line for line in capfd.readouterr().err.splitlines() if what in line]

    told("latents")
    assert not told("pose")
    assert not told("vae", "--decoder-only") and not told("pose")  # another decoder, the same latents
    write_weights(VAE(CONFIG.vae), vae)
    (line,) = told("pose")
    assert str(vae) in line and "`train latents` again" in line
    assert len(told("stage2")) == len(told("sampled", "--start-from", str(root / "stage2"))) == 1
    assert len(told("export", "--start-from", str(root / "stage2"))) == 1
    write_weights(AudioEncoder(CONFIG.audio_encoder), encoder)
    assert [str(path) in line for path, line in zip((vae, encoder), told("stage2"), strict=True)] == [True, True]
    told("latents")
    (line,) = told("stage2", what=LEARNT)
    assert str(root / "stage2") in line and "--start-from" in line
    assert not told("stage2") and not told("stage2", what=LEARNT)  # once
    assert len(told("pose", what=LEARNT)) == 1
    shutil.copytree(root / "stage2", tmp_path / "other")
    (line,) = told("stage2", "--start-from", str(tmp_path / "other"), what="going on from")
    assert str(root / "stage2" / "checkpoint") in line and str(tmp_path / "other") in line
    assert not told("stage2", "--start-from", str(root / "stage2"), what="going on from")
    (root / "latents" / "made_with.json").unlink()  # of before it was kept
    write_weights(VAE(CONFIG.vae), vae)
    assert not told("stage2")


@pytest.mark.parametrize("kind", ["kl", "tiny", "referenced"])
def test_all_that_makes_latents_is_remembered_and_no_more(kind: str, tmp_path: Path) -> None:
    vae = VAE(small(kind))
    write_origin(tmp_path, {"VAE": vae.state_dict()})
    picture, size = torch.rand(1, 3, 32, 32), vae.config.size
    picture = torch.rand(1, 3, size, size) if vae.reads_portrait else picture
    before = vae.encode(picture)
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            if not name.startswith(ENCODING):
                parameter.add_(1)
    assert torch.equal(vae.encode(picture), before) and not is_other(tmp_path, "VAE", vae.state_dict())
    with torch.no_grad():
        next(p for n, p in vae.named_parameters() if n.startswith(ENCODING[-1 if kind == "kl" else 0])).add_(1)
    assert is_other(tmp_path, "VAE", vae.state_dict())


def test_a_decoder_alone_leaves_all_that_makes_latents_as_it_was(tmp_path: Path) -> None:
    config, root = dataclasses.replace(TINY, vae=small("kl")), tmp_path / "root"
    vae = VAE(config.vae)
    write_weights(vae, root / "vae" / "vae.safetensors")
    write_clips(root / "heads", 3, TINY.clip.size, kind=HEADS)
    given = vars(build_parser().parse_args(["vae", "--root", str(root), "--decoder-only", "--batch", "2"]))
    for name in ("step", "preset"):
        del given[name]
    train_vae(Options(config=config, **given | {"processes": 1, "minutes": 0.01}))
    after = load_file(root / "vae" / "vae.safetensors")
    changed = {name for name, value in vae.state_dict().items() if not torch.equal(value, after[name])}
    assert changed and not any(name.startswith(ENCODING) for name in changed)


def small(kind: str) -> VAEConfig:
    if kind == "kl":
        return dataclasses.replace(TINY.vae, kind="kl", block_out_channels=(8, 16), layers_per_block=1)
    return TINY.vae if kind == "tiny" else CONFIG.vae
