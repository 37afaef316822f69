"""The identity embedding: alignment is exact, and what is not there is said, not guessed."""

from __future__ import annotations

import dataclasses
import math
import sys
import types
from pathlib import Path

import pytest
import torch
from onnx_files import write_first_numbers

from emo_core.data import Portrait
from emo_core.errors import EmoInputError
from emo_core.face.identity import (
    FILE,
    MESH,
    TEMPLATE,
    align,
    identity_embedding,
    similarity,
    with_identity,
)


def portrait(turn_deg: float = 20.0, scale: float = 2.5) -> tuple[Portrait, torch.Tensor]:
    """A crop whose five points are ArcFace's, turned and enlarged; bright spots stand on them. And the points."""
    angle = math.radians(turn_deg)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    five = torch.tensor(TEMPLATE) @ turn.T * scale + torch.tensor([140.0, 60.0])
    landmarks = torch.zeros(468, 3)
    for ids, point in zip(MESH, five, strict=True):
        landmarks[list(ids), :2] = point
    rows, columns = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
    spots = [torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 50) for x, y in five.tolist()]
    crop = torch.stack(spots).amax(0)[..., None].expand(-1, -1, 3).contiguous()
    box = (0.0, 0.0, 512.0, 512.0)
    return Portrait(crop, box, box, crop, landmarks=landmarks), five


def fake_onnxruntime(monkeypatch: pytest.MonkeyPatch, outputs: int) -> list[torch.Tensor]:
    """An onnxruntime whose network answers with `outputs` numbers; what it was shown."""
    shown: list[torch.Tensor] = []

    class Session:
        def __init__(self, path: str, providers: list[str]) -> None:
            assert path.endswith(FILE)

        def get_inputs(self) -> list[types.SimpleNamespace]:
            return [types.SimpleNamespace(name="input.1")]

        def run(self, names: None, given: dict[str, object]) -> list[object]:
            shown.append(torch.as_tensor(given["input.1"]))
            return [torch.arange(float(outputs))[None].numpy()]

    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace(InferenceSession=Session))
    return shown


def test_a_similarity_is_found_exactly_and_never_mirrors() -> None:
    source = torch.tensor(TEMPLATE, dtype=torch.float64)
    _, five = portrait()
    matrix = similarity(source, five.double())
    assert torch.allclose(source @ matrix[:, :2].T + matrix[:, 2], five.double(), atol=1e-4)
    mirrored = source * torch.tensor([-1.0, 1.0], dtype=torch.float64)
    assert float(torch.det(similarity(source, mirrored)[:, :2])) > 0


def test_the_points_come_to_lie_on_the_template() -> None:
    seen = align(portrait()[0])[..., 0]
    assert seen.shape == (112, 112)
    for x, y in TEMPLATE:
        window = seen[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5]
        row, column = divmod(int(window.argmax()), 9)
        assert abs(column - 4 + round(x) - x) <= 1 and abs(row - 4 + round(y) - y) <= 1


def test_the_network_is_shown_the_face_and_its_answer_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = fake_onnxruntime(monkeypatch, 512)
    (tmp_path / FILE).touch()
    made = with_identity(portrait()[0], tmp_path / FILE)
    assert made.identity is not None and torch.equal(made.identity, torch.arange(512.0))
    assert shown[0].shape == (1, 3, 112, 112) and float(shown[0].min()) >= -1.0 and float(shown[0].max()) <= 1.0


def test_another_network_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_onnxruntime(monkeypatch, 128)
    (tmp_path / FILE).touch()
    with pytest.raises(EmoInputError, match="128 outputs"):
        identity_embedding(portrait()[0], tmp_path / FILE)


def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    face = portrait()[0]
    assert with_identity(face, None) is face
    assert "not beside the model" in caplog.text
    (tmp_path / FILE).touch()
    assert with_identity(dataclasses.replace(face, landmarks=None), tmp_path / FILE).identity is None
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert with_identity(face, tmp_path / FILE) is face
    assert "onnxruntime is not installed" in caplog.text


def test_with_onnxruntime_itself(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    face = portrait()[0]
    network = write_first_numbers(tmp_path / FILE, (1, 3, 112, 112), 512)
    shown = (align(face) * 255 - 127.5) / 127.5
    embedding = identity_embedding(face, network)
    assert torch.allclose(embedding, shown.permute(2, 0, 1).flatten()[:512], atol=1e-6)
    network.write_bytes(b"<html>")
    with pytest.raises(EmoInputError, match="does not run"):
        identity_embedding(face, network)
