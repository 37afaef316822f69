"""A network started from SD1.5 and AnimateDiff, against diffusers' own SD1.5 and AnimateDiff with the same weights."""

import dataclasses

import pytest
import torch
from small_network import stir

from emo_core.config import MotionModuleConfig, SpeedConfig, UNetConfig
from emo_core.data import Conditions, ReferenceCache
from emo_core.errors import EmoInputError
from emo_core.models.initialise import initialise_backbone, initialise_reference_net
from emo_core.models.reference_net import ReferenceNet
from emo_core.models.transformer import BackboneBlock
from emo_core.models.unet import Backbone

WIDTHS, FRAMES = (32, 64), 5
CONFIG = UNetConfig(
    block_out_channels=WIDTHS,
    attention_levels=(True, False),
    heads=4,
    norm_groups=8,
    audio_dim=24,
    reference_weight=0.0,
    motion=MotionModuleConfig(heads=4),
    speed=SpeedConfig(hidden=8, width=8),
)


class PerFrame(torch.nn.Module):
    """GroupNorm of each frame by itself, as AnimateDiff's own code; diffusers takes one statistic over all frames."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, maps):
        """(b, c, f, h, w)"""
        frames = maps.transpose(1, 2)
        return self.norm(frames.flatten(0, 1)).view(frames.shape).transpose(1, 2)


@pytest.fixture(scope="module")
def oracle():
    """diffusers' U-Net with motion modules, SD1.5's parts and AnimateDiff's by their own names, text attention at 0."""
    from diffusers import MotionAdapter, UNet2DConditionModel
    from diffusers.models.unets.unet_motion_model import UNetMotionModel

    torch.manual_seed(0)
    image = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=WIDTHS,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=8,
        cross_attention_dim=24,
    )
    adapter = MotionAdapter(
        block_out_channels=WIDTHS,
        motion_layers_per_block=2,
        motion_num_attention_heads=4,
        motion_norm_num_groups=8,
        motion_max_seq_length=32,
        use_motion_mid_block=True,
    )
    stir(image), stir(adapter)
    video = UNetMotionModel.from_unet2d(image, adapter).eval()
    for net in (image, video):
        for name, parameter in net.named_parameters():
            if ".attn2.to_out." in name and "motion_modules" not in name:
                parameter.data.zero_()
    for name, module in video.named_modules():
        if name.rpartition(".")[0].endswith("motion_modules"):
            module.norm = PerFrame(module.norm)
    return image, video, animatediff_names(adapter.state_dict())


def animatediff_names(state):
    """diffusers' names of motion modules back to those of AnimateDiff's file."""
    parts = {"norm1": "norms.0", "norm2": "norms.1", "norm3": "ff_norm", "ff": "ff"}
    parts |= {"attn1": "attention_blocks.0", "attn2": "attention_blocks.1"}
    named = {}
    for key, value in state.items():
        head, _, tail = key.partition(".motion_modules.")
        index, _, tail = tail.partition(".")
        if tail.startswith("transformer_blocks.0."):
            part, _, rest = tail.removeprefix("transformer_blocks.0.").partition(".")
            if part not in parts:
                continue  # positions, which each network computes
            tail = f"transformer_blocks.0.{parts[part]}.{rest}"
        named[f"{head}.motion_modules.{index}.temporal_transformer.{tail}"] = value
    return named


@pytest.fixture(scope="module")
def started(oracle):
    image, _, motion = oracle
    backbone = Backbone(CONFIG).eval()
    initialise_backbone(backbone, image.state_dict(), motion)
    return backbone


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(2, FRAMES, 4, 8, 8, generator=generator)
    keys = {
        f"{block}.attentions.{j}": torch.randn(2, 9, 32 if block != "mid_block" else 64, generator=generator)
        for block, n in (("down_blocks.0", 2), ("mid_block", 1), ("up_blocks.1", 3))
        for j in range(n)
    }
    return latents, torch.tensor([700, 20]), ReferenceCache(keys=keys, values=keys)


@torch.no_grad()
def test_equals_sd15_without_text_plus_animatediff(oracle, started, inputs):
    _, video, _ = oracle
    latents, timesteps, reference = inputs
    expected = video(latents.transpose(1, 2), timesteps, torch.zeros(10, 3, 24)).sample.transpose(1, 2)
    got = started(latents, timesteps, reference, Conditions())
    assert (got - expected).square().mean().sqrt() < 1e-5 * expected.square().mean().sqrt()


@torch.no_grad()
def test_equals_sd15_without_text_when_temporal_modules_are_off(oracle, started, inputs):
    image, _, _ = oracle
    latents, timesteps, reference = inputs
    expected = image(latents.flatten(0, 1), timesteps.repeat_interleave(FRAMES), torch.zeros(10, 3, 24)).sample
    got = started(latents, timesteps, reference, Conditions(), temporal=False).flatten(0, 1)
    assert (got - expected).square().mean().sqrt() < 1e-5 * expected.square().mean().sqrt()


@torch.no_grad()
def test_audio_attention_and_speed_layers_are_silent_at_first(started, inputs):
    latents, timesteps, reference = inputs
    plain = started(latents, timesteps, reference, Conditions())
    for name, width in (("audio_tokens", (3, 24)), ("speed_tokens", (8,))):
        conditions = Conditions(**{name: torch.randn(2, FRAMES, *width) * 10})
        assert torch.equal(started(latents, timesteps, reference, conditions), plain), name


def test_reference_attention_starts_as_self_attention(started):
    for module in started.modules():
        if isinstance(module, BackboneBlock):
            for key, value in module.attn1.state_dict().items():
                assert torch.equal(value, module.attn1_5.state_dict()[key])


def test_reference_net_starts_as_sd15(oracle):
    image = oracle[0]
    net = ReferenceNet(CONFIG)
    initialise_reference_net(net, image.state_dict())
    theirs = image.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in net.state_dict().items())


def test_without_animatediff_temporal_modules_change_nothing(oracle, inputs):
    backbone = Backbone(CONFIG).eval()
    initialise_backbone(backbone, oracle[0].state_dict(), None)
    with torch.no_grad():
        on, off = (backbone(*inputs, Conditions(), temporal=t) for t in (True, False))
    assert torch.equal(on, off)


@pytest.mark.parametrize("damage", ["missing", "unknown", "instead of"])
def test_wrong_files_are_named(oracle, damage):
    state = dict(oracle[0].state_dict())
    weight = state.pop("conv_in.weight")
    if damage == "unknown":
        state |= {"conv_in.weight": weight, "conv_middle.weight": weight}
    elif damage == "instead of":
        state["conv_in.weight"] = weight[:, :3]
    with pytest.raises(EmoInputError, match=rf"conv_\w+\.weight.*{damage}"):
        initialise_backbone(Backbone(dataclasses.replace(CONFIG)), state, None)
