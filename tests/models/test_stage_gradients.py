"""Gradients reach every parameter that a stage trains, and no other (paper 4.1, the three stages)."""

import pytest
import torch
from small_network import stir

from emo_core.config import TINY
from emo_core.models.emo import EmoModel
from emo_core.training.stages import STAGES, StageStep, select_trainable, trainable_names


def batch_of(settings, rows=2):
    """A random batch in `StageStep`'s form, nothing dropped."""
    unet, clip = TINY.unet, TINY.clip
    frames = clip.frames if settings.temporal else 1
    size = clip.size // TINY.vae.downscale
    shape = (rows, frames, unet.in_channels, size, size)
    encoder, window = TINY.audio_encoder, 2 * TINY.audio_projection.window + 1
    mask = torch.zeros(rows, 1, 1, clip.size, clip.size)
    mask[..., 8:40, 8:40] = 1
    batch = {
        "portrait": torch.randn(rows, *shape[2:]),
        "target": torch.randn(shape),
        "noise": torch.randn(shape),
        "weight": torch.ones(rows, frames, 1, size, size),
        "audio": torch.randn(rows, frames, window, encoder.layers, encoder.hidden_size),
        "face_region": mask,
        "speed": torch.rand(rows, frames),
        "pose": torch.randn(rows, frames, 3),
        "timesteps": torch.tensor([700, 300])[:rows],
        "motion": torch.randn(rows, clip.motion_frames, *shape[2:]),
    }
    return batch | {f"keep_{name}": torch.ones(rows) for name in ("audio", "reference", "speed", "motion")}


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_gradients_reach_exactly_what_a_stage_trains(stage):
    torch.manual_seed(0)
    model, settings = stir(EmoModel(TINY)), STAGES[stage]
    select_trainable(model, settings)
    loss, _ = StageStep(model, settings)(batch_of(settings))
    loss.backward()
    wanted = set(trainable_names(model, settings))
    reached = {k for k, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert reached - wanted == set()
    assert wanted - reached == set()


def test_what_the_stages_train():
    """Stage 1 the image networks, stage 3 only temporal modules and speed layers; VAE and audio encoder never."""
    model = EmoModel(TINY)
    names = {stage: set(trainable_names(model, settings)) for stage, settings in STAGES.items()}
    assert not any(k.startswith(("vae.", "audio_encoder.")) for v in names.values() for k in v)
    assert not any("motion_modules" in k or ".attn2." in k for k in names[1])
    assert any(k.startswith("face_locator.") for k in names[1])
    assert {"backbone.conv_in.weight", "reference_net.conv_in.weight"} <= names[1]
    assert all(".resnets." not in k or k in names[1] for k, _ in model.named_parameters() if k.startswith("backbone."))
    assert names[3] == {k for k, _ in model.named_parameters() if "motion_modules" in k or "speed_layers" in k}
