"""Random files of Hallo's form: every name and shape of the released ones, and they load and run."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import pytest
import torch

from emo_core.bench.command import main
from emo_core.bench.released import _everything, _hallo_name, _is_elsewhere, measure_released, write_hallo
from emo_core.config import HALLO, IdentityConfig, VAEConfig
from emo_core.weights.inspect import inspect

MANIFEST = Path(__file__).parents[1] / "fixtures" / "manifests" / "hallo.json.gz"
SMALL = dataclasses.replace(
    HALLO,
    unet=dataclasses.replace(
        HALLO.unet, block_out_channels=(32, 64, 64, 64), audio_dim=24, identity=IdentityConfig(width=48)
    ),
    face_locator=dataclasses.replace(HALLO.face_locator, channels=(4, 8, 8, 8)),
    audio_encoder=dataclasses.replace(
        HALLO.audio_encoder, conv_dim=(16,) * 7, hidden_size=16, heads=4, intermediate_size=32, pos_conv_groups=4
    ),
    audio_projection=dataclasses.replace(HALLO.audio_projection, tokens=4, hidden=16),
    vae=VAEConfig(block_out_channels=(32,) * 4, layers_per_block=1),
)


def test_full_size_has_every_name_and_shape_of_the_released_file() -> None:
    released = json.loads(gzip.decompress(MANIFEST.read_bytes()))
    state = _everything(HALLO).state_dict()
    ours = {_hallo_name(name): list(value.shape) for name, value in state.items() if not _is_elsewhere(name)}
    assert ours == {name: list(shape) for name, shape in released.items()} and len(ours) == 2656


def test_small_files_are_whole_load_and_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_hallo(tmp_path, torch.float16, config=SMALL)
    report = inspect(path)
    assert report.kind.family == "hallo" and report.missing == () and report.unread == 160
    assert set(report.dtypes) == {"float16"} and report.tensors == 2652  # two blocks need no shortcut here
    peaks = measure_released(path, torch.float32, steps=1, size=64)
    assert (peaks.frames, peaks.steps) == (16, 1) and peaks.on_disk > report.bytes
    assert 0 < peaks.loading <= peaks.clip and "target 1.15x" in peaks.as_text()
    figures = tmp_path / "figures.json"
    assert main(["--released", str(path), "--steps", "0", "--dtype", "float16", "--output", str(figures)]) == 0
    said = capsys.readouterr().out
    assert "GB at the peak" in said and "frames" not in said
    written = json.loads(figures.read_text())
    assert "torch" in written["machine"] and written["released"]["on_disk"] == peaks.on_disk
