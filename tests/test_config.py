"""A model's configuration as text: ours comes back as it was; whatever else a file may say gets one sentence, or is a
network that can be built."""

from __future__ import annotations

import copy
import dataclasses
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from emo_core.config import EMO_MINI_HEADS, PRESETS, TINY, EmoConfig, ScheduleConfig
from emo_core.errors import EmoInputError
from emo_core.weights.file import build_without_memory

WRONG: tuple[Any, ...] = (None, True, -1, 0, 1, 3, 7, 64, 10**9, 10**400, -0.5, 0.5, 1e30, float("nan"), float("inf"))
WRONG += ("", "8", "x" * 5000, "\ud800", "a\nb", [], {}, [[]], [1, 2, 3], ["a"], [None] * 3, [10**9] * 3, {"heads": 2})


def leaves(data: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where every value of nested objects and lists is, the objects and lists too."""
    if path:
        yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from leaves(value, (*path, key))


def changed(data: Any, path: tuple, value: Any) -> str:
    data = copy.deepcopy(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(data)


def read(text: str) -> EmoConfig | None:
    try:
        return EmoConfig.from_json(text)
    except EmoInputError as error:
        assert error.name.startswith("emo_config") and len(str(error)) < 1500 and "\n" not in str(error)
        return None


@pytest.mark.parametrize("config", PRESETS.values(), ids=list(PRESETS))
def test_a_configuration_comes_back_as_it_was(config: EmoConfig) -> None:
    again = EmoConfig.from_json(config.to_json())
    assert again == config
    again.refuse_mismatch()


def test_fields_of_before_keep_their_defaults() -> None:
    assert EmoConfig.from_json("{}") == EmoConfig()
    assert EmoConfig.from_json('{"schedule": {"snr_shift": 2}}').schedule == ScheduleConfig(snr_shift=2)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("unet", "heads"), "8", "emo_config.unet.heads: found '8'; expected a whole number"),
        (("unet", "heads"), True, "a whole number"),
        (("unet", "heads"), 10**9, "found 1000000000; expected a number from 1 to 256"),
        (("unet", "heads"), [2], r"found \[2\]"),
        (("unet", "heads"), None, "found nothing"),
        (("unet", "block_out_channels"), 16, "a list"),
        (("unet", "block_out_channels"), [], "0 values; expected 1 to 8"),
        (("unet", "block_out_channels"), [16] * 200, "200 values"),
        (("unet", "block_out_channels"), [16, 32, 32], "2 levels; expected 3, as block_out_channels"),
        (("unet", "block_out_channels", 0), 17, "17 channels; expected a multiple of 8, the norm_groups"),
        (("unet", "block_out_channels", 0), 0, r"block_out_channels\[0\]: found 0; expected a number from 1"),
        (("unet", "motion", "heads"), 3, "a multiple of 3, the heads of the motion modules"),
        (("unet", "motion", "max_length"), 2**40, "max_length"),
        (("unet",), [], r"emo_config.unet: found \[\]; expected an object"),
        (("unet",), None, "emo_config.unet: found nothing"),
        (("unet", "reference_attention"), "telepathy", "one of separate, appended"),
        (("unet", "reference_attention"), ["separate"], "one of separate"),
        (("family",), {}, "one of emo"),
        (("name",), "x" * 1000, "a text of at most 200 characters"),
        (("name",), "a\nb", "a text"),
        (("schedule", "beta_end"), float("nan"), "found nan"),
        (("schedule", "beta_end"), float("inf"), "found inf"),
        (("schedule", "beta_start"), 0.5, "at most beta_end"),
        (("schedule", "slow_noise"), 0.9, "add up to at most 1"),
        (("audio_encoder", "conv_stride"), [2], "1 strides for 7 convolutions"),
        (("audio_encoder", "conv_stride"), [1000] * 7, "at most 16000"),
        (("audio_encoder", "hidden_size"), 15, "a multiple of 2, the heads"),
        (("audio_encoder", "layers"), 10**6, "from 1 to 64"),
        (("audio_encoder", "pos_conv_groups"), 5, "a divisor of 16"),
        (("audio_encoder", "conv_bias"), 1, "true or false"),
        (("vae", "encoder_blocks"), [1, 1, 1], "decoder_blocks: found 2 levels; expected 3"),
        (("vae", "channel_scale"), [1.0], "1 values; expected 4, one for each latent channel"),
        (("posed_portrait", "width"), 15, "a multiple of 8"),
        (("clip", "fps"), 0, "from 1 to 1000"),
        (("telepathy",), 1, r"unknown fields \['telepathy'\].*Update ComfyUI-EMO"),
    ],
)
def test_what_cannot_be_is_named_with_what_can(path: tuple, value: Any, said: str) -> None:
    with pytest.raises(EmoInputError, match=said):
        EmoConfig.from_json(changed(json.loads(TINY.to_json()), path, value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"clip": ' * 100_000, "not JSON"),
        ('{"clip": {"size": ' + "9" * 5000 + "}}", "not JSON"),
        ("null", "found nothing; expected an object"),
        ("[]", "expected an object"),
        ('{"name": "' + "x" * 2_000_000 + '"}', "at most 1000000"),
        (json.dumps({"x" * 1000 + str(i): i for i in range(500)}), "unknown fields"),
    ],
)
def test_text_that_is_no_configuration(text: str, said: str) -> None:
    with pytest.raises(EmoInputError, match=said) as caught:
        EmoConfig.from_json(text)
    assert len(str(caught.value)) < 1000


def test_parts_that_do_not_fit_together_are_no_model() -> None:
    unet = dataclasses.replace(TINY.unet, in_channels=8)
    for config, said in (
        (dataclasses.replace(TINY, unet=unet), r"unet\.in_channels: found 8; expected 4"),
        (dataclasses.replace(TINY, face_locator=EMO_MINI_HEADS.face_locator, vae=PRESETS["emo-sd15"].vae), None),
        (dataclasses.replace(TINY, face_locator=dataclasses.replace(TINY.face_locator, channels=(4, 4))), "found 2;"),
    ):
        if said is None:
            config.refuse_mismatch()
        else:
            with pytest.raises(EmoInputError, match=said):
                config.refuse_mismatch()


@pytest.mark.parametrize("preset", ["tiny", "emo-mini", "hallo", "echomimic", "v-express"])
def test_every_value_may_be_anything(preset: str) -> None:
    """A sentence, or a configuration of which a model can be built: a few of those are."""
    data, chance = json.loads(PRESETS[preset].to_json()), random.Random(preset)
    places = list(leaves(data))
    accepted = []
    for path in places:
        for value in chance.sample(WRONG, 8):
            config = read(changed(data, path, value))
            if config is not None and path[0] not in ("name", "schedule", "guidance", "clip"):
                accepted.append(config)
    assert accepted
    for config in chance.sample(accepted, 3 if preset in ("tiny", "emo-mini") else 1):
        assert config.to_json() and build_without_memory(config).config == config
