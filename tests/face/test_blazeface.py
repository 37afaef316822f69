"""The torch detectors equal LiteRT's, and their anchors lie where the models expect them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emo_core.face.blazeface import FullRangeDetector, ShortRangeDetector, decode
from emo_core.face.detect import load_detector, load_mesh

FIXTURES = Path(__file__).parents[1] / "fixtures"
REFERENCE = load_file(FIXTURES / "face_reference.safetensors")


def assert_litert(values: torch.Tensor, reference: torch.Tensor) -> None:
    """fp32 in another order of summation: 1.5e-4, and a millionth of the large ones (scores go to -120)."""
    torch.testing.assert_close(values, reference, atol=1.5e-4, rtol=1e-6)


def wave(size: int) -> torch.Tensor:
    """The input that LiteRT was given: smooth, in -1..1, different in each channel."""
    steps = torch.arange(size, dtype=torch.float64)
    y, x, c = torch.meshgrid(steps, steps, torch.arange(3, dtype=torch.float64), indexing="ij")
    return torch.sin(0.11 * x + 0.07 * y * (c + 1) + 0.003 * x * y).float().permute(2, 0, 1)[None]


@pytest.mark.parametrize(("name", "kind"), [("short", ShortRangeDetector), ("full", FullRangeDetector)])
def test_detector_equals_litert(name: str, kind: type) -> None:
    scores, boxes = load_detector(kind)(wave(kind.input_size))
    assert_litert(scores.flatten()[::5], REFERENCE[f"{name}.scores"])
    assert_litert(boxes.flatten()[::5], REFERENCE[f"{name}.boxes"])


def test_mesh_equals_litert() -> None:
    points, flag = load_mesh()((wave(192) + 1) / 2)
    assert_litert(points.flatten()[::5], REFERENCE["mesh.points"])
    assert_litert(flag, REFERENCE["mesh.flag"])


@pytest.mark.parametrize(("kind", "count"), [(ShortRangeDetector, 896), (FullRangeDetector, 2304)])
def test_an_anchor_of_zero_offset_decodes_to_its_own_cell(kind: type, count: int) -> None:
    detector = kind()
    scores, points = decode(detector, torch.zeros(count), torch.zeros(count, 16))
    assert points.shape == (count, 8, 2)
    assert torch.equal(points[:, 0], detector.anchors())
    assert points.min() > 0 and points.max() < 1
    assert (scores == 0.5).all()


def test_decoded_scores_saturate_instead_of_overflowing() -> None:
    scores, _ = decode(ShortRangeDetector(), torch.full((896,), -1e9), torch.zeros(896, 16))
    assert torch.isfinite(scores).all() and scores.max() < 1e-20
