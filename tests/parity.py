"""Run a folder of golden numbers of a released system and print how far this network is from every tensor in it.

    python tests/parity.py FOLDER [--salt S]

A folder of the form of tests/fixtures/parity/v_express_step: `meta.json` (configuration), `weights_manifest.json`
(key -> shape; the weights are drawn from the keys, see `regenerate`), `inputs.safetensors`, `outputs*.safetensors`.
Everything is derived from them; which system it is, from the names of the weights. Exit code 1 if a tensor's relative
RMS error is above 1e-5; worst last.
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

from golden import echomimic, hallo, v_express  # noqa: E402
from golden.weights import Manifest, network_config, relative_rms  # noqa: E402

from emo_core.config import V_EXPRESS, UNetConfig  # noqa: E402

LIMIT = 1e-5


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--salt", type=int, default=None, help="salt of the weights (default: meta.json's)")
    options = parser.parse_args()
    errors = compare(options.folder, options.salt)
    for error, name in errors:
        print(f"{error:.3e}  {name}")
    worst = errors[-1][0] if errors else float("inf")
    print(f"{len(errors)} tensors, worst {worst:.3e}, limit {LIMIT:.0e}: {'ok' if worst <= LIMIT else 'FAILED'}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
