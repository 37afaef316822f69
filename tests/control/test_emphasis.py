"""Weights of audio attention: lips and upper face alone, and nothing at all where nobody asks."""

from __future__ import annotations

import pytest
import torch

from emo_core.control.emphasis import audio_gain, with_emphasis
from emo_core.data import Controls, Portrait, ReferenceCache
from emo_core.errors import EmoInputError
from emo_core.face.audio_regions import LIPS, UPPER, emphasis_regions


def portrait(landmarks: torch.Tensor | None = None) -> Portrait:
    crop = torch.zeros(64, 64, 3)
    return Portrait(crop, (12.0, 8.0, 52.0, 58.0), (0.0, 0.0, 64.0, 64.0), crop, landmarks=landmarks)


def cache(**more: object) -> ReferenceCache:
    return ReferenceCache(keys={}, values={}, emphasis_regions=emphasis_regions(portrait(), [8, 4]), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("with_mesh", [False, True])
def test_lips_are_below_and_the_upper_face_above(with_mesh: bool) -> None:
    mesh = torch.full((468, 3), 32.0)
    mesh[list(LIPS)] = torch.tensor([[26.0, 46.0, 0.0]]) + torch.rand(len(LIPS), 3) * 8
    mesh[list(UPPER)] = torch.tensor([[18.0, 20.0, 0.0]]) + torch.rand(len(UPPER), 3) * torch.tensor([28.0, 8.0, 0.0])
    fine, coarse = emphasis_regions(portrait(mesh if with_mesh else None), [16, 8])
    assert fine.shape == (1, 2, 256) and coarse.shape == (1, 2, 64)
    rows = torch.arange(16.0).repeat_interleave(16)
    lips, upper = ((region * rows).sum() / region.sum() for region in fine[0])
    assert 4 < float(upper) < 7 and 10 < float(lips) < 13
    assert float(fine.min()) >= 0 and float(fine.sum(1).max()) <= 1 + 1e-5
    assert float(fine[0, 0].max()) > 0.7 and float(fine[0, 1].max()) > 0.7
    assert float(fine[0, :, :16].max()) < 0.05  # the upper edge is neither


def test_one_is_exactly_nothing() -> None:
    reference = cache()
    assert with_emphasis(reference, Controls()) is reference
    gained = with_emphasis(reference, Controls(mouth_emphasis=2.0, upper_emphasis=0.5)).audio_gain
    assert [gain.shape for gain in gained] == [(1, 64, 1), (1, 16, 1)]


def test_each_weight_acts_on_its_own_region() -> None:
    regions = torch.tensor([[[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.0]]])
    assert audio_gain(regions, mouth=2.0, upper=0.5)[0, :, 0].tolist() == [2.0, 0.5, 1.0, 1.5]


def test_weights_that_a_model_does_not_have_are_refused() -> None:
    with pytest.raises(EmoInputError, match="region_weights"):
        with_emphasis(cache(), Controls(region_weights=(1.0, 1.0, 2.0)))
    regions = (torch.ones(1, 3, 64),)
    heard = with_emphasis(cache(audio_regions=regions), Controls(region_weights=(1.0, 0.5, 2.0)))
    assert heard.region_weights == (1.0, 0.5, 2.0) and heard.audio_gain == ()
    with pytest.raises(EmoInputError, match="mouth_emphasis"):
        Controls(mouth_emphasis=4.0)
