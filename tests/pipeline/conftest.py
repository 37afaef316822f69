"""What the pipeline's tests share: a model, a portrait, its reference."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from awake_model import awake

from emo_core.config import TINY
from emo_core.data import Portrait, ReferenceCache
from emo_core.models.emo import EmoModel
from emo_core.pipeline.reference import encode_reference


@pytest.fixture(scope="session")
def model() -> EmoModel:
    return awake(TINY)


@pytest.fixture(scope="session")
def portrait() -> Portrait:
    crop = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(2))
    return Portrait(crop, (16.0, 16.0, 48.0, 48.0), (0.0, 0.0, 64.0, 64.0), crop)


@pytest.fixture(scope="session")
def reference(model: EmoModel, portrait: Portrait) -> ReferenceCache:
    return encode_reference(model, portrait)


@pytest.fixture(scope="session")
def face(portrait: Portrait) -> Portrait:
    """The portrait with an identity embedding, for `hallo`."""
    return dataclasses.replace(portrait, identity=torch.randn(8, generator=torch.Generator().manual_seed(5)))
