"""Run a folder of golden numbers of a released system and print how far this network is from every tensor in it.

    python tests/parity.py FOLDER [--salt S]

A folder of the form of tests/fixtures/parity/v_express_step: `meta.json` (configuration), `weights_manifest.json`
(key -> shape; the weights are drawn from the keys, see `regenerate`), `inputs.safetensors`, `outputs*.safetensors`.
Everything is derived from them; which system it is, from the names of the weights. Two more forms: `hallo_two_clips`
(with `vae_manifest.json`; its weights are hallo_step's, beside it) and `wav2vec` (`io.safetensors`). Exit code 1 if a
tensor's relative RMS error is above its limit, 1e-5 but for what two whole clips add up to; worst last.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from golden import echomimic, hallo, two_clips, v_express, wav2vec  # noqa: E402
from golden.weights import Manifest, network_config, relative_rms  # noqa: E402

from emo_core.config import V_EXPRESS, UNetConfig  # noqa: E402

LIMIT = 1e-5
LIMITS = {"final_latents": 1e-4, "video": 1e-3}  # of hallo_two_clips, by the end of the name


def system_of(manifest: Manifest) -> Any:
    """The module of tests/golden that runs weights of these names."""
    for module in (hallo, v_express):
        if any(key.startswith(module.PREFIX) for key in manifest):
            return module
    return echomimic


def unet_config(manifest: Manifest, meta: Mapping[str, Any]) -> UNetConfig:
    """The configuration of V-Express's network that these weights belong to."""
    return network_config(manifest, meta, V_EXPRESS.unet)


def compare(folder: Path, salt: int | None = None) -> list[tuple[float, str]]:
    """Every tensor's (relative RMS error, "file: name") of a folder, worst last."""
    for form in (two_clips, wav2vec):
        if form.applies(folder):
            got, expected = form.run(folder, salt)
            return sorted((relative_rms(got[name], expected[name]), name) for name in expected)
    meta = json.loads((folder / "meta.json").read_text())
    manifest = json.loads((folder / "weights_manifest.json").read_text())
    inputs = load_file(folder / "inputs.safetensors")
    released = system_of(manifest)
    comparable = getattr(released, "comparable", lambda name, value, inputs: value)
    errors = []
    for path in sorted(folder.glob("outputs*.safetensors")):
        expected = load_file(path)
        system = released.build(meta, manifest, meta.get("salt", 0) if salt is None else salt)
        with torch.no_grad():
            got = released.run(system, inputs, expected)
        for name, value in expected.items():
            if name in getattr(released, "UNREAD", ()):
                continue
            error = relative_rms(got[name], comparable(name, value, inputs)) if name in got else float("inf")
            errors.append((error, f"{path.stem}: {name}"))
    return sorted(errors)


def limit_of(name: str) -> float:
    """The largest allowed error of a tensor."""
    return LIMITS.get(name, LIMITS.get(name.split(".")[-1], LIMIT))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--salt", type=int, default=None, help="salt of the weights (default: meta.json's)")
    options = parser.parse_args()
    errors = compare(options.folder, options.salt)
    for error, name in errors:
        print(f"{error:.3e}  {name}")
    far = [name for error, name in errors if error > limit_of(name)]
    worst = errors[-1][0] if errors else float("inf")
    limits = "/".join(f"{limit:.0e}" for limit in sorted({limit_of(name) for _, name in errors}))
    failed = far or not errors
    print(f"{len(errors)} tensors, worst {worst:.3e}, limit {limits}: {'FAILED' if failed else 'ok'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
