"""Small networks as fixtures."""

import pytest
import torch
from small_network import make_small


@pytest.fixture
def small():
    with torch.no_grad():
        yield make_small()


@pytest.fixture
def build():
    return make_small
