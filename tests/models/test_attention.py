"""The one door to attention against softmax written out."""

import pytest
import torch

from emo_core.models.attention import Attention, attend, attend_over_frames


def by_hand(q, k, v, heads):
    """(q, c), (k, c), (k, c) -> (q, c), head by head, in fp64."""
    outs = []
    for qh, kh, vh in zip(*(x.double().chunk(heads, -1) for x in (q, k, v)), strict=True):
        outs.append(torch.softmax(qh @ kh.T / qh.shape[-1] ** 0.5, -1) @ vh)
    return torch.cat(outs, -1)


@pytest.mark.parametrize("keys", [1, 3, 7])
def test_attend(keys):
    q, k, v = torch.randn(2, 5, 12), torch.randn(2, keys, 12), torch.randn(2, keys, 12)
    expected = torch.stack([by_hand(q[i], k[i], v[i], 3) for i in range(2)])
    torch.testing.assert_close(attend(q, k, v, 3).double(), expected, atol=1e-6, rtol=1e-5)


def test_over_frames_each_pixel_sees_only_itself():
    q, k, v = torch.randn(2, 3, 4, 12), torch.randn(2, 5, 4, 12), torch.randn(2, 5, 4, 12)
    out = attend_over_frames(q, k, v, 3)
    assert out.shape == q.shape
    for i in range(2):
        for s in range(4):
            expected = by_hand(q[i, :, s], k[i, :, s], v[i, :, s], 3)
            torch.testing.assert_close(out[i, :, s].double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shared", [1, 2])
def test_shared_keys_equal_repeated_keys(shared):
    attention = Attention(12, 3)
    tokens, context = torch.randn(4, 6, 12), torch.randn(shared, 5, 12)
    repeated = context.repeat_interleave(4 // shared, dim=0)
    got = attention.over_shared(tokens, *attention.project(context))
    torch.testing.assert_close(got, attention(tokens, repeated), atol=1e-6, rtol=1e-5)


def test_bf16_keeps_its_dtype_and_value():
    q, k, v = torch.randn(3, 2, 5, 12).bfloat16().unbind(0)
    out = attend(q, k, v, 3)
    assert out.dtype == torch.bfloat16
    expected = torch.stack([by_hand(q[i], k[i], v[i], 3) for i in range(2)])
    torch.testing.assert_close(out.double(), expected, atol=2e-2, rtol=2e-2)


def test_silenced_attention_adds_nothing():
    attention = Attention(12, 3, 8)
    attention.silence()
    assert attention(torch.randn(2, 4, 12), torch.randn(2, 3, 8)).abs().max() == 0


@pytest.mark.parametrize("silent", [0, 2, 4])
def test_silent_rows_get_the_bias_that_attention_to_zeros_leaves(silent):
    attention = Attention(12, 3, 5)
    tokens, audio = torch.randn(4, 6, 12), torch.randn(4, 2, 5)
    audio[:silent] = 0
    torch.testing.assert_close(attention.hear(tokens[silent:], audio, silent), attention(tokens, audio))
