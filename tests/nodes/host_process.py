"""A real ComfyUI in this process, without its server, and the pack in it: what the checks of `in_host.py` stand on."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PACK = "emo_pack"  # the name is the folder's in a real host: nothing may depend on it
FPS = 25


def start(comfyui: Path, work: Path) -> None:
    """Import ComfyUI for the CPU with `work` as its base folder, and the pack as custom_nodes are imported."""
    import torch

    kept = torch.library.Library("torchvision", "DEF")
    try:
        import torchvision  # noqa: F401
    except (RuntimeError, OSError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            kept.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    start.kept = kept  # type: ignore[attr-defined]
    sys.path[0] = str(comfyui)
    sys.argv = ["main.py", "--cpu", "--base-directory", str(work)]
    import comfy.options

    comfy.options.enable_args_parsing()
    import folder_paths

    folder_paths.set_output_directory(str(work / "output"))
    folder_paths.models_dir = str(work / "models")
    spec = importlib.util.spec_from_file_location(
        PACK, REPOSITORY / "__init__.py", submodule_search_locations=[str(REPOSITORY)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)


def part(name: str) -> Any:
    """A module of the pack."""
    return importlib.import_module(f"{PACK}.{name}")


def nodes() -> dict[str, Any]:
    """Node id -> class."""
    extension = asyncio.run(sys.modules[PACK].comfy_entrypoint())
    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}


def run(node: str, *values: Any, hidden: Any = None, **named: Any) -> tuple[Any, ...]:
    """The outputs of a node, executed as the host does it: on a clone of the class."""
    clone = nodes()[node].PREPARE_CLASS_CLONE(hidden or {})
    outputs: tuple[Any, ...] = clone.EXECUTE_NORMALIZED(*values, **named).args
    return outputs


LOADED: dict[str, Any] = {}


def inputs(seconds: float = 1.0) -> dict[str, Any]:
    """Everything the sampler wants, from the bundled pair; encoded once."""
    if not LOADED:
        import torch

        backbone, net, encoder, vae = run("EMO_LoadModel", "emo-mini", "auto", "auto")
        image, audio = run("EMO_ExampleInputs", "speech")
        _, portrait, _ = run("EMO_PreparePortrait", image, 128, 0.58)
        (reference,) = run("EMO_EncodeReference", net, vae, portrait)
        LOADED.update(backbone=backbone, net=net, encoder=encoder, vae=vae, image=image, audio=audio)
        small = torch.nn.functional.interpolate(image.movedim(-1, 1), size=(512, 512), mode="area").movedim(1, -1)
        LOADED.update(portrait=portrait, reference=reference, small=small)
    encoded, _ = run("EMO_EncodeAudio", LOADED["audio"], 0.0, 0.0, seconds, audio_encoder=LOADED["encoder"])
    sockets = {name: LOADED[name] for name in ("backbone", "reference", "vae")}
    return {**sockets, "emo_audio": encoded, "steps": 1, "guidance": 1.0, "scheduler": "ddim", "seed": 1}


@contextmanager
def refuses(text: str, kind: str = "EmoInputError") -> Iterator[None]:
    """The block must raise an error of this class whose message holds `text`."""
    try:
        yield
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        assert type(error).__name__ == kind and text in str(error), f"expected {kind} with {text!r}, got {said}"
    else:
        raise AssertionError(f"nothing was raised; expected {kind} with {text!r}")


@contextmanager
def on_tick(hook: Any) -> Iterator[None]:
    """`hook(value, total, preview)` hears of progress, as the server does."""
    import comfy.utils

    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, node_id=None: hook(value, total, preview))
    try:
        yield
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
