"""Loading a half-precision checkpoint costs its size in memory once: no float32 copy, no second half-precision one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import released_files as made
import torch

from emo_core.config import HALLO, VAEConfig
from emo_core.weights.file import build_without_memory

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
import torch, diffusers, transformers
from emo_core.weights.file import load_model
from emo_core.models.emo import EmoModel
from emo_core.config import TINY
EmoModel(TINY)  # what is imported late
def memory(name):  # not getrusage: its peak begins with that of the process that started this one
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))
before = memory("VmRSS")
model = load_model(sys.argv[1], device="cpu", dtype=torch.float16)
total = sum(float(p.sum()) for p in model.parameters())  # every page is read
print(memory("VmHWM") - before, total)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own account of memory")
def test_half_precision_is_held_once(tmp_path: Path) -> None:
    unet = dataclasses.replace(HALLO.unet, block_out_channels=(64, 128, 256, 256))
    config = dataclasses.replace(
        HALLO, unet=unet, audio_encoder=made.WAV2VEC, vae=VAEConfig(block_out_channels=(32,) * 4, layers_per_block=1)
    )
    names = {"backbone": "denoising_unet", "reference_net": "reference_unet", "audio_projection": "audioproj"}
    tensors = {}
    for name, value in build_without_memory(config).named_parameters():
        part, _, rest = name.partition(".")
        if part in ("vae", "audio_encoder"):
            continue
        if rest.startswith("identity_projection."):
            part, rest = "imageproj", rest.removeprefix("identity_projection.")
        tensors[f"{names.get(part, part)}.{rest}"] = torch.full(value.shape, 0.01, dtype=torch.float16)
    path = made.save(tensors, tmp_path / "hallo" / "net.pth", torch.float16)
    made.save(made.vae(), tmp_path / "vae" / "diffusion_pytorch_model.bin", torch.float16)
    made.save(made.wav2vec(), tmp_path / "wav2vec2" / "pytorch_model.bin", torch.float16)
    del tensors
    size = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert size > 150e6
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    peak = float(done.stdout.split()[0])
    print(f"{size / 1e6:.0f} MB on disk, {peak / 1e6:.0f} MB at the peak, {peak / size:.2f} times")
    # 90 MB: modules, names and late imports (75 MB measured), whatever the size; a second copy would be 233 more.
    assert peak < 1.15 * size + 90e6, done.stdout
