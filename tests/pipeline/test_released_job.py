"""The whole job with released models, small: from a portrait and a voice to a file, and what is said on the way."""

from __future__ import annotations

import dataclasses
import logging
import sys
import types
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch

from emo_core.cli import DEMO_PORTRAIT, DEMO_VOICE
from emo_core.data import GenerateSettings
from emo_core.pipeline.animate import AnimateOptions, animate
from emo_core.weights.file import load_model, save_model

sys.path.append(str(Path(__file__).parents[1] / "weights"))
import released_files as made

OPTIONS = AnimateOptions(max_seconds=0.2, settings=GenerateSettings(steps=1), device="cpu")


def small(family: str, folder: Path) -> Path:
    """A released model, converted, that makes pictures of 128 pixels."""
    model = load_model(getattr(made, family)(folder / "released"), device="cpu")
    model.config = dataclasses.replace(model.config, clip=dataclasses.replace(model.config.clip, size=128))
    (path,) = save_model(model, folder / "models" / "small.safetensors", dtype=torch.float32)
    return path


def runtime() -> Any:
    """An onnxruntime that runs both further networks: identity as ones, nobody's voice."""

    class Session:
        def __init__(self, path: str, providers: list[str]) -> None:
            face = "glintr100" in path
            self.shape = ["batch", 3, 112, 112] if face else ["batch", 4, 3072, 256]

        def get_inputs(self) -> list[types.SimpleNamespace]:
            return [types.SimpleNamespace(name="input", shape=self.shape)]

        def run(self, names: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [np.ones((1, 512), np.float32) if self.shape[1] == 3 else given["input"] * 0]

    return types.SimpleNamespace(InferenceSession=Session)


def test_hallo_says_what_it_goes_without_and_uses_what_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    sound = tmp_path / "noise.wav"
    soundfile.write(sound, np.random.default_rng(0).normal(0, 0.1, 3200), 16_000)
    options = dataclasses.replace(OPTIONS, model=str(small("hallo", tmp_path)))
    written = animate(DEMO_PORTRAIT, sound, tmp_path / "plain.mp4", options=options)
    assert (written.frames, written.fps) == (5, 25.0) and written.path.is_file()
    assert "glintr100.onnx is not beside the model" in caplog.text
    assert "Separation of the voice is off: Kim_Vocal_2.onnx" in caplog.text
    caplog.clear()
    (tmp_path / "models" / "Kim_Vocal_2.onnx").touch()
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime())
    animate(DEMO_PORTRAIT, sound, tmp_path / "voice.mp4", options=options)
    assert "The voice was separated with" in caplog.text
    pictures = [
        [frame.to_ndarray(format="rgb24") for frame in av.open(str(tmp_path / name)).decode(video=0)]
        for name in ("plain.mp4", "voice.mp4")
    ]
    assert not np.array_equal(*pictures)  # what is listened to is another


def test_echomimic_runs_with_its_own_crop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emo_core.pipeline import animate as job

    framings = []
    real = job.prepare_portrait
    monkeypatch.setattr(job, "prepare_portrait", lambda *a, **k: framings.append(k["framing"]) or real(*a, **k))
    options = dataclasses.replace(OPTIONS, model=str(small("echomimic", tmp_path)))
    written = animate(DEMO_PORTRAIT, DEMO_VOICE, tmp_path / "out.mp4", options=options)
    assert (written.frames, written.fps) == (5, 24.0) and framings == ["dilated"]
