"""Runs inside the test host's own interpreter: `boot_comfy.py COMFYUI_FOLDER ARGUMENTS...` starts ComfyUI's main.py.

On a machine where torchvision's compiled library does not load (it is built for CUDA), two operators that its Python
part asks for at import are declared first; nothing here calls them.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time


def _declare_operators() -> object | None:
    import torch

    try:
        import torchvision  # noqa: F401
    except (RuntimeError, OSError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


def _end_with(parent: int) -> None:
    """Whoever started this server is gone, perhaps killed: nobody will stop it any more."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    folder, *arguments = sys.argv[1:]
    _kept_alive = _declare_operators()
    sys.path[0] = folder  # before anything of the pack: its nodes/ must not stand in for ComfyUI's nodes.py
    sys.argv = [f"{folder}/main.py", *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
