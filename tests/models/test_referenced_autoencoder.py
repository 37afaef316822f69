"""models/referenced_autoencoder: a still face is the portrait to the bit, its pixels are read at any size, half
precision holds it, and what it learns it learns."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from emo_core.config import EMO_MINI, TINY_REFERENCED, VAEConfig
from emo_core.config.fields import refuse_impossible
from emo_core.errors import EmoInputError
from emo_core.models.referenced_autoencoder import Draft
from emo_core.models.vae import VAE

CONFIGS = [TINY_REFERENCED.vae, EMO_MINI.vae]


def drawn(config: VAEConfig, *, seed: int = 0) -> VAE:
    """A VAE whose flows move and whose mask paints: the layers that begin with zero are drawn as well."""
    torch.manual_seed(seed)
    vae = VAE(config).requires_grad_(False).eval()
    decoder = vae.autoencoder.decoder
    finest = [] if decoder.finest is None else [decoder.finest.flow]
    for layer in (decoder.middle_flow, decoder.fine_flow, decoder.last_flow, *finest):
        torch.nn.init.normal_(layer.weight, std=0.2)
        torch.nn.init.normal_(layer.bias, std=2.0)
    return vae


def portrait(size: int, *, seed: int = 1) -> Tensor:
    """A picture of 8-bit values with all of a photograph's detail and more."""
    drawing = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, 3, size, size), generator=drawing).float() / 127.5 - 1


def in_8_bits(pictures: Tensor) -> Tensor:
    return ((pictures.float() + 1) * 127.5).round()


@pytest.mark.parametrize("config", CONFIGS, ids=["tiny", "photo"])
@pytest.mark.parametrize("times", [1, 1.5, 2])
def test_no_turn_and_no_word_give_the_portrait_back_to_the_bit(config: VAEConfig, times: float) -> None:
    """At 256, 384 and 512 for the size that ships; in a batch of frames, whatever the weights."""
    vae, picture = drawn(config), portrait(int(config.size * times))
    detail = vae.detail(picture)
    assert detail is not None and detail.picture is picture
    frames = vae.decode(vae.encode(picture).expand(2, -1, -1, -1), detail)
    assert torch.equal(in_8_bits(frames), in_8_bits(picture).expand(2, -1, -1, -1))


def test_what_does_not_change_stays_the_photograph_while_something_else_moves() -> None:
    vae, picture = drawn(EMO_MINI.vae), portrait(256)
    detail = vae.detail(picture)
    assert detail is not None
    latents = detail.latent.clone()
    latents[:, :, 12:, 6:10] += 1  # a mouth
    frame = vae.decode(latents, detail)
    assert not torch.allclose(frame[..., 200:, 100:156], picture[..., 200:, 100:156], atol=0.1)
    assert torch.equal(in_8_bits(frame[..., :150, :]), in_8_bits(picture[..., :150, :]))


def test_hardly_any_change_changes_hardly_anything() -> None:
    vae, picture = drawn(TINY_REFERENCED.vae), portrait(64)
    detail = vae.detail(picture)
    assert detail is not None
    near, far = (float((vae.decode(detail.latent + by, detail) - picture).abs().mean()) for by in (1e-3, 2.0))
    assert 0 < near < 0.02 < far


def test_latents_of_all_crops_are_of_one_size_and_frames_of_the_portraits() -> None:
    vae = drawn(TINY_REFERENCED.vae)
    for size in (64, 96, 128):
        detail = vae.detail(portrait(size))
        assert detail is not None
        side = vae.config.latent_size(size)
        assert detail.latent.shape == vae.encode(portrait(size)).shape == (1, vae.config.latent_channels, side, side)
        assert vae.decode(torch.randn(3, 4, side, side), detail).shape == (3, 3, size, size)


def test_a_larger_portrait_brings_its_own_pixels_along_the_same_flow() -> None:
    vae, small = drawn(TINY_REFERENCED.vae), portrait(64)
    large = small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    latents = torch.randn(1, 4, 4, 4)
    both = [vae.detail(each) for each in (small, large)]
    assert both[0] is not None and both[1] is not None
    first, second = (vae.draft(latents, detail) for detail in both)
    for name in ("flow", "kept", "painted"):
        assert torch.allclose(getattr(first, name), getattr(second, name), atol=1e-5)
    shown = vae.decode(latents, both[1])
    shrunk = torch.nn.functional.avg_pool2d(shown, 2)
    assert float((shrunk - vae.decode(latents, both[0])).abs().mean()) < 0.3 * float(small.std())


def test_frames_of_a_batch_do_not_see_each_other() -> None:
    vae, picture = drawn(TINY_REFERENCED.vae), portrait(64)
    detail = vae.detail(picture)
    latents = torch.randn(3, 4, 4, 4)
    assert torch.allclose(vae.decode(latents, detail)[1:2], vae.decode(latents[1:2], detail), atol=1e-5)


def test_what_is_kept_is_carried_and_what_is_new_is_painted() -> None:
    picture = portrait(8)
    flow = torch.zeros(1, 2, 2, 2)
    flow[:, 1] = 2 / 4  # a quarter of the height down
    kept = torch.ones(1, 1, 8, 8)
    kept[..., 4:] = 0
    frame = Draft(flow, kept, torch.full((1, 3, 8, 8), 0.5)).over(picture)
    assert torch.allclose(frame[..., :6, :4], picture[..., 2:, :4], atol=1e-5)
    assert bool((frame[..., 4:] == 0.5).all())


def test_a_portrait_that_is_missing_is_asked_for_and_others_ask_for_none() -> None:
    vae = drawn(TINY_REFERENCED.vae)
    assert vae.reads_portrait
    with pytest.raises(EmoInputError, match="detail: found none; expected that of the portrait"):
        vae.decode(torch.zeros(1, 4, 4, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_holds_it(dtype: torch.dtype) -> None:
    """Also where everything is much larger than it should be; the photograph itself is not rounded."""
    vae, picture = drawn(EMO_MINI.vae), portrait(256)
    whole = vae.detail(picture)
    latents = vae.encode(picture).expand(2, -1, -1, -1) + torch.randn(2, 16, 16, 16)
    expected = vae.draft(latents, whole) if whole is not None else None
    vae.to(dtype)
    detail = vae.detail(picture)
    assert detail is not None and expected is not None and detail.latent.dtype == dtype
    made = vae.draft(latents.to(dtype), detail)
    step = torch.finfo(dtype).eps
    for name in ("flow", "kept", "painted"):
        one, other = getattr(made, name).float(), getattr(expected, name)
        assert float((one - other).abs().mean()) < 16 * step * float(other.abs().mean() + other.std())
    still = vae.decode(detail.latent, detail)
    assert still.dtype == torch.float32 and torch.equal(in_8_bits(still), in_8_bits(picture))
    for scale in (10, 100):
        assert bool(vae.decode((latents * scale).to(dtype), detail).isfinite().all())
    assert bool(vae.encode(picture * 100).isfinite().all())


def test_autocast_in_another_memory_layout_decodes_the_same() -> None:
    vae, picture = drawn(TINY_REFERENCED.vae), portrait(64)
    latents = torch.randn(2, 4, 4, 4)
    plain = vae.decode(latents, vae.detail(picture))
    vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        made = vae.decode(latents, vae.detail(picture))
    assert made.dtype == torch.float32
    assert float((made - plain).abs().mean()) < 0.1 * float(plain.std())


def test_it_is_traced_as_one_graph() -> None:
    vae, picture = drawn(TINY_REFERENCED.vae), portrait(128)
    detail, latents = vae.detail(picture), torch.randn(2, 4, 4, 4)
    compiled = torch.compile(vae.decode, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(latents, detail), vae.decode(latents, detail), atol=1e-5)


def test_the_finest_level_begins_by_adding_nothing() -> None:
    """A decoder that has learnt grows it and decodes as before; then it says something at half of the size."""
    config = TINY_REFERENCED.vae
    small = drawn(dataclasses.replace(config, finest=0))
    grown = VAE(config).requires_grad_(False).eval()
    new = grown.load_state_dict(small.state_dict(), strict=False)
    assert not new.unexpected_keys and all(".finest." in name for name in new.missing_keys)
    picture, latents = portrait(64), torch.randn(2, 4, 4, 4)
    details = [vae.detail(picture) for vae in (small, grown)]
    assert details[0] is not None and details[1] is not None
    before, after = small.draft(latents, details[0]), grown.draft(latents, details[1])
    assert torch.equal(before.painted, after.painted) and torch.equal(before.kept, after.kept)
    assert after.flow.shape == (2, 2, 32, 32)
    shrunk = torch.nn.functional.avg_pool2d(after.flow, 2)
    assert float((shrunk - before.flow).abs().mean()) < 0.2 * float(before.flow.abs().mean())
    torch.nn.init.normal_(grown.autoencoder.decoder.finest.last.weight)
    assert not torch.allclose(grown.draft(latents, details[1]).painted, after.painted, atol=0.1)


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    vae = VAE(TINY_REFERENCED.vae)
    vae.autoencoder.requires_grad_(True)
    decoder = vae.autoencoder.decoder
    for layer in (decoder.middle_flow, decoder.fine_flow, decoder.finest.flow, decoder.finest.last):
        torch.nn.init.normal_(layer.weight, std=0.1)
    picture = portrait(64)
    detail = vae.detail(picture)
    vae.decode(vae.encode(portrait(64, seed=2)), detail).square().mean().backward()
    unlearned = [name for name, p in vae.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert unlearned == []


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(EmoInputError, match="size: found 40; expected a multiple of 16"):
        refuse_impossible(dataclasses.replace(TINY_REFERENCED.vae, size=40), "vae")
    with pytest.raises(EmoInputError, match="widths: found 2 values"):
        refuse_impossible(dataclasses.replace(TINY_REFERENCED.vae, widths=(8, 8)), "vae")
