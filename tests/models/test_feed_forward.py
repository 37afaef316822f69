"""models/feed_forward: diffusers' feed-forward under its names, in numbers and gradients, also in 8 bits."""

from __future__ import annotations

import pytest
import torch
from diffusers.models import attention
from torch import nn

from emo_core.models.feed_forward import FeedForward
from emo_core.models.float8 import Float8Linear


def pair(width: int = 12) -> tuple[FeedForward, nn.Module]:
    """Ours, and diffusers' with the same weights."""
    torch.manual_seed(0)
    ours, theirs = FeedForward(width), attention.FeedForward(width, activation_fn="geglu")
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def test_names_and_first_weights_are_those_of_diffusers() -> None:
    torch.manual_seed(0)
    ours = FeedForward(12).state_dict()
    torch.manual_seed(0)
    theirs = attention.FeedForward(12, activation_fn="geglu").state_dict()
    assert list(ours) == list(theirs) == ["net.0.proj.weight", "net.0.proj.bias", "net.2.weight", "net.2.bias"]
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


@pytest.mark.parametrize("shape", [(3, 7, 12), (2, 3, 5, 12)])
def test_numbers_and_gradients_are_those_of_diffusers(shape: tuple[int, ...]) -> None:
    ours, theirs = pair()
    x, weights = torch.randn(shape), torch.randn(shape)
    found = []
    for module in (ours, theirs):
        given = x.clone().requires_grad_()
        out = module(given)
        (out * weights).sum().backward()
        found.append([out, given.grad, *(parameter.grad for parameter in module.parameters())])
    for own, other in zip(*found, strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)


def test_in_8_bits_it_is_the_stored_layer_that_speaks() -> None:
    ours, theirs = pair()
    for net in (ours.net, theirs.net):
        net[0].proj, net[2] = Float8Linear(net[0].proj), Float8Linear(net[2])
    x = torch.randn(3, 7, 12)
    torch.testing.assert_close(ours(x), theirs(x))


def test_what_gelu_sees_is_contiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    gelu = nn.functional.gelu
    monkeypatch.setattr(nn.functional, "gelu", lambda x: (seen.append(x.is_contiguous()), gelu(x))[1])
    FeedForward(12)(torch.randn(3, 7, 12))
    assert seen == [True]
