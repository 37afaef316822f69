"""The repeated blocks of a model, compiled by torch.compile. In: a model on its device. Out: whether they are.

Regional compilation: each residual block, transformer, audio and temporal module of backbone and ReferenceNet, and each
residual block of SD's VAE decoder, is a graph of its own, and those of one shape share one, so that the compiler works
for tens of blocks, not for a network. Shapes are static: every clip has the model's length, the last one is padded.
Module.compile leaves names and weights as they are, and a copy of the model is not compiled.

A decoder that is given the portrait is left out: on a CPU it hardly gains (emo-mini, milliseconds of one core a
frame: its layers 41 to 47 as they are, 42 to 44 as one graph, 45 to 54 with compiled residual blocks; a frame put
together at 512 pixels 17 and 21 to 25, at 1024 118 to 132 and 102 to 105), and is built in minutes. Not measured on a
card.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .emo import EmoModel
from .library_blocks import residual_class
from .temporal import TemporalModule
from .transformer import ReferenceTransformer, SpatialTransformer
from .vae import VAE

log = logging.getLogger(__name__)

# Graphs of one kind of block, all shapes together. torch's own limit is 8: SD1.5's residual blocks have 14 shapes in
# the backbone, with guidance and perhaps without, and as many in ReferenceNet, for the portrait and for motion frames.
# Where torch.compile takes no limit for a region (before 2.13), torch's limit for the whole process is raised to it.
GRAPHS = 128
Backend = str | Callable[..., Any]


def compile_regions(model: EmoModel, *, device: torch.device | None = None, backend: Backend = "inductor") -> bool:
    """Compile the blocks in place; they are built on their first call, which takes long. False, with a line in the
    log, where there is no working compiler: the model then runs as it is. `device`: where it will run, if it is not
    there yet."""
    obstacle = _obstacle(device or next(model.parameters()).device, backend)
    if obstacle is not None:
        log.warning("Not compiled, going on without: %s", obstacle)
        return False
    limit = _limit_of_graphs()
    for block in regions(model):
        block.compile(fullgraph=True, dynamic=False, backend=backend, **limit)
    return True


def _limit_of_graphs() -> dict[str, int]:
    """What torch.compile is to be told so that GRAPHS are built of one kind of block. Before torch 2.13 it takes no
    limit of its own for a region: torch's for all is raised then, where it is lower."""
    if "recompile_limit" in inspect.signature(torch.compile).parameters:
        return {"recompile_limit": GRAPHS}
    config: Any = importlib.import_module("torch._dynamo.config")
    for name, older in (
        ("recompile_limit", "cache_size_limit"),
        ("accumulated_recompile_limit", "accumulated_cache_size_limit"),
    ):
        known = name if hasattr(config, name) else older  # renamed in torch 2.6
        if hasattr(config, known) and getattr(config, known) < GRAPHS:
            log.debug("torch._dynamo.config.%s raised from %d to %d", known, getattr(config, known), GRAPHS)
            setattr(config, known, GRAPHS)
    return {}


def regions(model: EmoModel) -> list[nn.Module]:
    """The blocks that are compiled, each by itself; none lies within another."""
    networks: list[nn.Module] = [model.backbone, model.reference_net]
    if isinstance(model.vae, VAE) and model.vae.config.kind == "kl":
        networks.append(model.vae.autoencoder.decoder)
    kinds = (residual_class(), SpatialTransformer, ReferenceTransformer, TemporalModule)
    return [module for network in networks for module in network.modules() if isinstance(module, kinds)]


def _obstacle(device: torch.device, backend: Backend) -> str | None:
    """Why nothing can be compiled for `device`, found out on a small function; None if it can."""

    def small(x: Tensor) -> Tensor:
        return torch.nn.functional.silu(x) * 2

    try:
        # RuntimeError: all of torch's own, such as a C++ compiler or Triton that is missing or fails.
        torch.compile(small, fullgraph=True, dynamic=False, backend=backend)(torch.ones(64, device=device))
    except (RuntimeError, ImportError, OSError) as error:
        cause = getattr(error, "inner_exception", error)  # what dynamo wraps in a page of advice
        said = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        return f"torch.compile does not work here ({said})"
    return None
