"""What is refused at once, and what a run survives: too little memory, numbers that overflow in half precision."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from awake_model import awake, sound

from emo_core.config import TINY
from emo_core.data import AudioFeatures, ClipState, Controls, GenerateSettings, Portrait, ReferenceCache
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.pipeline.generate import generate
from emo_core.pipeline.reference import encode_reference


def frames_of(model: EmoModel, reference: ReferenceCache, settings: GenerateSettings | None = None) -> torch.Tensor:
    return torch.cat([clip.frames for clip in generate(model, reference, sound(6), None, settings)])


def limit_rows(module: torch.nn.Module, name: str, most: int) -> None:
    """Let `module.name` fail as a small GPU would when its first input has more than `most` rows."""
    full = getattr(module, name)

    def limited(first: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        if first.shape[0] > most:
            raise torch.cuda.OutOfMemoryError(f"CUDA out of memory. Tried {first.shape[0]} rows.")
        return full(first, *args, **kwargs)

    setattr(module, name, limited)


def test_decoding_goes_on_with_smaller_chunks(model: EmoModel, reference: ReferenceCache) -> None:
    small = copy.deepcopy(model)
    limit_rows(small.vae, "decode", 1)
    torch.testing.assert_close(frames_of(small, reference), frames_of(model, reference), atol=1e-5, rtol=0)


def test_denoising_goes_on_one_row_at_a_time(model: EmoModel, reference: ReferenceCache) -> None:
    small = copy.deepcopy(model)
    limit_rows(small.backbone, "forward", 1)
    torch.testing.assert_close(frames_of(small, reference), frames_of(model, reference), atol=1e-4, rtol=0)


@pytest.mark.parametrize("part", ["backbone.forward", "vae.decode"])
def test_memory_that_is_never_enough_names_the_knobs(model: EmoModel, reference: ReferenceCache, part: str) -> None:
    small = copy.deepcopy(model)
    module, name = part.split(".")
    limit_rows(getattr(small, module), name, 0)
    with pytest.raises(EmoInputError, match=r"memory: .*CUDA out of memory.*guidance 1"):
        frames_of(small, reference)


def test_other_errors_are_not_taken_for_lack_of_memory(model: EmoModel, reference: ReferenceCache) -> None:
    broken = copy.deepcopy(model)
    broken.vae.autoencoder.decoder = torch.nn.Identity()
    with pytest.raises((RuntimeError, AttributeError)) as caught:
        frames_of(broken, reference)
    assert not isinstance(caught.value, EmoInputError)


def overflowing() -> EmoModel:
    """Weights that float16 can hold and whose activations it cannot."""
    model = awake(TINY)
    model.backbone.conv_in.weight.mul_(40_000)
    return model


def test_a_clip_that_overflows_in_half_precision_is_repeated_in_float32(
    portrait: Portrait, caplog: pytest.LogCaptureFixture
) -> None:
    half = overflowing().half()
    reference = encode_reference(half, portrait)
    before = {name: (p.dtype, p.clone()) for name, p in half.named_parameters()}
    frames = frames_of(half, reference)
    assert "clip 0 holds NaN" in caplog.text and frames.isfinite().all()
    for name, p in half.named_parameters():
        assert p.dtype == before[name][0] and torch.equal(p, before[name][1])
    torch.testing.assert_close(frames, frames_of(copy.deepcopy(half).float(), reference), atol=2e-3, rtol=0)


def test_nan_that_stays_is_an_error(model: EmoModel, reference: ReferenceCache) -> None:
    broken = copy.deepcopy(model)
    broken.backbone.conv_out.bias.fill_(torch.nan)
    with pytest.raises(EmoInputError, match=r"clip 0: .*NaN"):
        frames_of(broken, reference)


def test_nan_in_the_portrait_is_an_error(model: EmoModel, portrait: Portrait) -> None:
    bad = dataclasses.replace(portrait, crop=portrait.crop.clone().fill_(torch.nan))
    with pytest.raises(EmoInputError, match="portrait"):
        encode_reference(model, bad)


@pytest.mark.parametrize(
    ("shape", "said"), [((60, 60, 3), "Use size 64"), ((64, 48, 3), "square"), ((64, 64), "H, W, 3")]
)
def test_crops_that_do_not_fit_are_refused(model: EmoModel, portrait: Portrait, shape: tuple, said: str) -> None:
    with pytest.raises(EmoInputError, match=said):
        encode_reference(model, dataclasses.replace(portrait, crop=torch.zeros(shape)))


def test_inputs_that_do_not_fit_are_refused_before_the_first_clip(model: EmoModel, reference: ReferenceCache) -> None:
    """The call itself raises: nobody has to ask for a clip first."""
    with pytest.raises(EmoInputError, match="curve of 3"):
        generate(model, reference, sound(6), Controls(speed=[0.1, 0.2, 0.3]))
    with pytest.raises(EmoInputError, match="no frames"):
        generate(model, reference, AudioFeatures(torch.zeros(0, 5, 2, 16), 25.0))
    with pytest.raises(EmoInputError, match="resume"):
        generate(model, reference, sound(6), resume=ClipState(1))
    with pytest.raises(EmoInputError, match=r"resume: .*\(2, 4, 4, 4\)"):
        generate(model, reference, sound(6), resume=ClipState(1, torch.zeros(2, 4, 4, 4)))
    with pytest.raises(EmoInputError, match="clip 9"):
        generate(model, reference, sound(6), resume=ClipState(9))
    with pytest.raises(EmoInputError, match="empty mask"):
        generate(model, reference, sound(6), Controls(face_region=torch.zeros(64, 64)))
    with pytest.raises(EmoInputError, match="reference"):
        generate(model, dataclasses.replace(reference, latents=None), sound(6))


def test_a_speed_needs_speed_layers(portrait: Portrait) -> None:
    model = awake(dataclasses.replace(TINY, unet=dataclasses.replace(TINY.unet, speed=None)))
    with pytest.raises(EmoInputError, match="speed layers"):
        generate(model, encode_reference(model, portrait), sound(4), Controls(speed=1.0))
