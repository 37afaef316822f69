"""The portrait's reference: what stands for a face region where a user names none."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from emo_core.data import Portrait
from emo_core.face.region import face_region_mask
from emo_core.models.emo import EmoModel
from emo_core.pipeline.reference import encode_portrait, project_reference


@pytest.mark.parametrize("expand", [0.0, 0.1, 0.3])
def test_the_region_is_grown_as_the_model_was_trained(expand: float, model: EmoModel, portrait: Portrait) -> None:
    """In the graph as in the library: who projects a reference cannot leave it out."""
    locator = dataclasses.replace(model.config.face_locator, expand=expand)
    config = dataclasses.replace(model.config, face_locator=locator)
    features = encode_portrait(model.vae, model.reference_net, portrait, config=config.vae)
    region = project_reference(model.backbone, features, portrait, config=config).face_region
    assert region is not None
    assert torch.equal(region, face_region_mask(None, 64, portrait, expand_x=expand, expand_y=expand))
