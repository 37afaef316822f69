"""Runs in a host's interpreter whose path begins with broken packages: `broken_packages.py COMFYUI_FOLDER WORK_FOLDER`.

Prints a line of JSON: the nodes that registered, what those without a network made, and what the others said.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from host_process import nodes, run, start


def said(node: str, *values: Any, **named: Any) -> str:
    try:
        run(node, *values, **named)
    except Exception as error:
        return f"{type(error).__mro__[1].__name__}: {error}"
    return "nothing"


def main() -> None:
    start(*(Path(argument) for argument in sys.argv[1:3]))
    import torch

    with torch.inference_mode():
        image, _ = run("EMO_ExampleInputs", "speech")
        crop, portrait, _ = run("EMO_PreparePortrait", image, 128, 0.58)
        mask, _ = run("EMO_FaceMask", portrait, 0.6, 0.0, 0.05)
        run("EMO_FaceRegionController", mask, 1.0)
        ((control,),) = run("EMO_SpeedController", 0.4, "0, 1")
        (pasted,) = run("EMO_PasteBack", image, crop, portrait)
        kinds = ("EMO_LoadModel", "EMO_LoadBackbone", "EMO_LoadReferenceNet", "EMO_LoadAudioEncoder")
        told = {kind: [said(kind, "emo-mini", "auto", "auto") for _ in range(2)] for kind in kinds}
    print(json.dumps({"nodes": sorted(nodes()), "pasted": list(pasted.shape), "told": told, "speed": control.speed}))


if __name__ == "__main__":
    main()
