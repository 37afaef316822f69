"""Our networks against golden numbers that the released systems' own code produced, with guidance and without."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "fixtures" / "parity" / "v_express_step"

_spec = importlib.util.spec_from_file_location("parity", ROOT / "parity.py")
assert _spec is not None and _spec.loader is not None
parity = importlib.util.module_from_spec(_spec)
sys.modules["parity"] = parity
_spec.loader.exec_module(parity)


def test_every_tensor_is_within_the_limit():
    errors = parity.compare(FOLDER)
    names = {name for _, name in errors}
    assert {"outputs_cfg: guided_3.5", "outputs_cfg: model_output", "outputs_nocfg: model_output"} <= names
    assert len(errors) == 54
    assert errors[-1][0] < parity.LIMIT, errors[-3:]


@pytest.mark.parametrize(("folder", "tensors"), [("hallo_step", 38), ("echomimic_step", 20)])
def test_hallo_and_echomimic(folder, tensors):
    errors = parity.compare(FOLDER.parent / folder)
    names = {name for _, name in errors}
    assert {"outputs_cfg: model_output", "outputs_nocfg: model_output"} <= names
    assert len(errors) == tensors
    assert errors[-1][0] < parity.LIMIT, errors[-3:]


@pytest.fixture(scope="module")
def two_clips():
    return {name: error for error, name in parity.compare(FOLDER.parent / "hallo_two_clips")}


def is_chained(name):
    """Latents of the second clip, begun where our own first clip ended."""
    return name.endswith("clip1.final_latents")


def test_two_clips_of_hallo_through_the_pipeline(two_clips):
    """Portrait, guidance, steps, motion frames, VAE. Why the second clip also starts from golden frames: see
    golden/two_clips.py."""
    assert len(two_clips) == 6 and sum(is_chained(name) for name in two_clips) == 1
    assert all(error < parity.limit_of(name) for name, error in two_clips.items() if not is_chained(name)), two_clips


ANOTHER_PROCESSOR = 6e-4  # Hallo's own code under other kernels: up to 4.7e-4; features not rounded: 1.6e-3
BEYOND = (
    "latents of clip 1 after our own clip 0: 3.4e-4 against 1e-4. Hallo's own code, run here, misses them by 3.3e-4 to "
    "4.6e-4, and float64 by 3.6e-4: the golden machine's rounding, amplified by features in half precision; figures in "
    "golden/two_clips.py"
)


@pytest.mark.xfail(strict=True, reason=BEYOND)
def test_the_second_clip_of_hallo_after_our_own_first(two_clips):
    assert all(error < parity.limit_of(name) for name, error in two_clips.items() if is_chained(name)), two_clips


def test_the_second_clip_is_as_near_as_hallos_own_code_on_another_processor(two_clips):
    assert all(error < ANOTHER_PROCESSOR for name, error in two_clips.items() if is_chained(name)), two_clips


def test_other_weights_are_seen_as_other():
    """The comparison can fail: weights of another salt are far away."""
    assert parity.compare(FOLDER, salt=1)[-1][0] > 0.5


def test_command_line_prints_and_fails(tmp_path):
    command = [sys.executable, str(ROOT / "parity.py"), str(FOLDER), "--salt"]
    good = subprocess.run([*command, "0"], capture_output=True, text=True, check=False)
    assert good.returncode == 0 and "ok" in good.stdout.splitlines()[-1], good.stderr
    bad = subprocess.run([*command, "7"], capture_output=True, text=True, check=False)
    assert bad.returncode == 1 and "FAILED" in bad.stdout.splitlines()[-1]


@pytest.mark.parametrize("levels", [(True, False, True), (False, True)])
def test_configuration_is_read_off_the_manifest(levels):
    """A manifest of another network, made from that network's own state, gives back its configuration."""
    from emo_core.config import MotionModuleConfig, UNetConfig
    from emo_core.models.unet import Backbone

    config = UNetConfig(
        block_out_channels=(32, 64, 96)[: len(levels)],
        attention_levels=levels,
        layers_per_block=1,
        heads=4,
        audio_dim=20,
        reference_weight=0.9,
        audio_weight=2.0,
        reference_cross_attention="zero_token",
        motion=MotionModuleConfig(heads=2, attention_blocks=1, max_length=24),
        speed=None,
    )
    manifest = {f"denoising_unet.{k}": list(v.shape) for k, v in Backbone(config).state_dict().items()}
    meta = {"config": {"attention_head_dim": 4, "motion_heads": 2}}
    meta |= {"reference_attention_weight": 0.9, "audio_attention_weight": 2.0}
    assert parity.unet_config(json.loads(json.dumps(manifest)), meta) == config
