"""models/float8: what is stored in 8 bits, what is not, how near the result stays, and what it saves."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from emo_core.config import TINY
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.models.float8 import STORED, Float8Linear, store_in_float8
from emo_core.pipeline.memory import weight_bytes
from emo_core.pipeline.placement import device_of, dtype_of
from emo_core.weights.file import save_model


@pytest.fixture(scope="module")
def model() -> EmoModel:
    torch.manual_seed(0)
    return EmoModel(TINY).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def small(model: EmoModel) -> EmoModel:
    twin = copy.deepcopy(model)
    store_in_float8(twin)
    return twin


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_layer_stays_near_whatever_the_size_of_its_rows(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    linear = nn.Linear(64, 4, bias=False).requires_grad_(False)
    linear.weight *= torch.tensor([1e-3, 0.1, 1.0, 100.0])[:, None]
    linear.weight[0, 0] = 0.0
    linear.to(dtype)
    x = torch.randn(32, 64).to(dtype)
    exact, near = linear(x).float(), Float8Linear(linear)(x)
    assert near.dtype == dtype
    error = (near.float() - exact).square().mean(0) / exact.square().mean(0)
    assert bool((error.sqrt() < 0.05).all()) and bool((error > 0).all())


def test_a_row_of_zeros_stays_one() -> None:
    linear = nn.Linear(8, 2, bias=False).requires_grad_(False)
    linear.weight.zero_()
    assert not Float8Linear(linear)(torch.ones(1, 8)).any()


def test_only_linear_layers_of_the_two_networks_are_stored_so(model: EmoModel, small: EmoModel) -> None:
    stored = {name for name, value in small.named_parameters() if value.dtype == STORED}
    expected = {
        f"{name}.weight"
        for part in ("backbone", "reference_net")
        for name, module in model.named_modules()
        if name.startswith(f"{part}.") and type(module) is nn.Linear
    }
    assert stored == expected
    assert list(small.state_dict()) == list(model.state_dict())


def test_networks_still_compute_in_the_type_they_had(model: EmoModel, small: EmoModel) -> None:
    for name in ("backbone", "reference_net"):
        network = getattr(small, name)
        assert (dtype_of(network), device_of(network)) == (torch.float32, torch.device("cpu"))
    features, near = (m.reference_net(torch.ones(1, *_latent()), None) for m in (model, small))
    for site, value in features.attention.items():
        error = (near.attention[site] - value).square().mean() / value.square().mean()
        assert 0 < float(error) ** 0.5 < 0.1, site


def _latent() -> tuple[int, int, int]:
    side = TINY.clip.size // TINY.vae.downscale
    return TINY.vae.latent_channels, side, side


def test_what_is_saved_is_what_is_said(model: EmoModel) -> None:
    twin = copy.deepcopy(model)
    before = weight_bytes(twin)
    said = store_in_float8(twin)
    assert said == before - weight_bytes(twin) > 0
    assert store_in_float8(twin) == 0  # nothing left to do


def test_it_is_never_written_to_a_file_without_its_scales(small: EmoModel, tmp_path: Path) -> None:
    with pytest.raises(EmoInputError, match="float8"):
        save_model(small, tmp_path / "small.safetensors")


def test_a_device_without_the_type_is_named(model: EmoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emo_core.models.float8.WITHOUT", ("cpu",))
    with pytest.raises(EmoInputError, match="float16"):
        store_in_float8(model)
