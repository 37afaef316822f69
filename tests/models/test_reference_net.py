"""ReferenceNet: one pass or two, the same features; nothing built that nothing reads."""

import torch

from emo_core.config import TINY
from emo_core.models.reference_net import ReferenceNet
from emo_core.models.temporal import TemporalModule
from emo_core.models.transformer import BackboneBlock


def test_hands_on_features_for_every_site_of_the_backbone(small):
    features = small.reference_net(small.portrait, small.motion_frames)
    modules = list(small.backbone.modules())
    assert set(features.attention) == {m.site for m in modules if isinstance(m, BackboneBlock)}
    assert set(features.motion) == {m.site for m in modules if isinstance(m, TemporalModule)}
    assert features.attention["down_blocks.0.attentions.0"].shape == (2, 64, 16)
    assert features.motion["mid_block.motion_modules.0"].shape == (2, 2, 32, 4, 4)
    assert torch.equal(features.latents, small.portrait)


def test_portrait_alone_and_motion_alone_give_what_one_pass_gives(small):
    together = small.reference_net(small.portrait, small.motion_frames)
    alone, motion = small.reference_net(small.portrait), small.reference_net.encode_motion(small.motion_frames)
    assert alone.motion == {}
    for site, value in together.attention.items():
        torch.testing.assert_close(alone.attention[site], value, atol=1e-5, rtol=1e-4)
    for site, value in together.motion.items():
        torch.testing.assert_close(motion[site], value, atol=1e-5, rtol=1e-4)


def test_features_are_normed_states_after_self_attention(small):
    """`norm2` of self-attention's output and its residual, seen from outside with hooks."""
    block = small.reference_net.mid_block.attentions[0].transformer_blocks[0]
    seen = {}
    block.register_forward_hook(lambda _m, inputs, _o: seen.update(tokens=inputs[0]))
    features = small.reference_net(small.portrait)
    tokens = seen["tokens"]
    expected = block.norm2(tokens + block.attn1(block.norm1(tokens)))
    torch.testing.assert_close(features.attention["mid_block.attentions.0"], expected)


def test_leaves_out_what_nothing_reads():
    import dataclasses

    whole = set(ReferenceNet(TINY.unet).state_dict())
    assert not any("motion_modules" in key or "attn2" in key or "attn1_5" in key for key in whole)
    assert not any(key.startswith(("conv_norm_out", "conv_out")) for key in whole)
    cut = set(ReferenceNet(dataclasses.replace(TINY.unet, motion=None)).state_dict())
    gone = {key.split("attentions.1.")[1].split(".weight")[0].split(".bias")[0] for key in whole - cut}
    tail = {"norm3", "ff.net.0.proj", "ff.net.2"}
    assert gone == {"proj_out"} | {f"transformer_blocks.0.{name}" for name in tail}


def test_one_zero_token_adds_a_constant(build):
    s = build(reference_cross_attention="zero_token")
    keys = [key for key in s.reference_net.state_dict() if ".attn2." in key]
    assert keys and all(key.endswith("attn2.to_out.0.bias") for key in keys)
    before = s.reference_net(s.portrait).attention
    with torch.no_grad():
        s.reference_net.get_parameter(keys[0]).add_(1.0)
    after = s.reference_net(s.portrait).attention
    assert any((before[site] - after[site]).abs().max() > 1e-3 for site in before)
