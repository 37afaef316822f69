"""A card for a machine without one: what is not on it holds no numbers, so that nothing can be computed with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from emo_core.models.emo import EmoModel
from emo_core.pipeline.offload import Mover, layers_of
from emo_core.pipeline.placement import dtype_of

LAYERS = "layers of backbone"


class RecordingMover(Mover):
    """Empties all networks of a model; brings them back for their stage. `moves`: what came, in order; `resident`: what
    is there now."""

    def __init__(self, model: EmoModel) -> None:
        self.names = {network: name for name, network in model.named_children()}
        self.moves: list[str] = []
        self.resident: set[str] = set()
        self.full = {tensor: tensor.data for network in self.names for tensor in _tensors(network)}
        for tensor in self.full:
            _empty(tensor)

    @contextmanager
    def bring(self, networks: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
        with self._there([self.names[network] for network in networks], [t for n in networks for t in _tensors(n)]):
            yield

    @contextmanager
    def group(self, backbone, device):
        """What stands beside the layers for the whole time, each layer while it runs."""
        layers = layers_of(backbone)
        within = {tensor for layer in layers for tensor in _tensors(layer)}
        hooks = []
        for layer in layers:
            hooks += [layer.register_forward_pre_hook(self._fill), layer.register_forward_hook(self._clear)]
        with self._there([LAYERS], [tensor for tensor in _tensors(backbone) if tensor not in within]):
            assert dtype_of(backbone) == torch.float32
            yield backbone
        for hook in hooks:
            hook.remove()

    @contextmanager
    def _there(self, names: Sequence[str], tensors: Sequence[Tensor]) -> Iterator[None]:
        assert not self.resident & set(names), "brought twice"
        self.moves.append(" + ".join(names))
        self.resident |= set(names)
        before = [tensor.data for tensor in tensors]
        try:
            for tensor in tensors:
                tensor.data = self.full[tensor]
            yield
        finally:
            self.resident -= set(names)
            for tensor, data in zip(tensors, before, strict=True):
                tensor.data = data

    def _fill(self, layer: nn.Module, given: object) -> None:
        for tensor in _tensors(layer):
            tensor.data = self.full[tensor]

    def _clear(self, layer: nn.Module, given: object, made: object) -> None:
        for tensor in _tensors(layer):
            _empty(tensor)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _empty(tensor: Tensor) -> None:
    tensor.data = torch.full_like(tensor, torch.nan) if tensor.is_floating_point() else torch.zeros_like(tensor)
