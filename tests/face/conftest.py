"""The pictures of these tests: scikit-image's astronaut (NASA, public domain), 512x512, and the rendered portrait."""

import pytest
from portrait_cases import FIXTURES, RENDERED
from torch import Tensor

from emo_core.face.image import read_image


@pytest.fixture(scope="session")
def astronaut() -> Tensor:
    return read_image(FIXTURES / "astronaut.jpg")


@pytest.fixture(scope="session")
def rendered() -> Tensor:
    """The demo's portrait, 512x512, a face of 285x375 that fills it."""
    return read_image(RENDERED)
