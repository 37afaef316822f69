"""The one photograph of these tests: scikit-image's astronaut (NASA, public domain), 512x512."""

from pathlib import Path

import pytest
from torch import Tensor

from emo_core.face.image import read_image

ASTRONAUT = Path(__file__).parents[1] / "fixtures" / "astronaut.jpg"


@pytest.fixture(scope="session")
def astronaut() -> Tensor:
    return read_image(ASTRONAUT)
