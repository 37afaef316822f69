"""Which networks are on the card in which stage of the work. In: a model that lies in main memory, the measure that was
chosen. Out: contexts in which the stage's networks are on the card; afterwards the model is as it was.

`parts`: each network comes for its stage and goes. `groups`: the same, and while the backbone samples its layers come
and go one after another (diffusers' group offloading, with a stream on CUDA). Neither changes a number. What each takes
is told by `memory`. Inside ComfyUI nothing of this runs: the host's own manager moves the parts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast, get_args

import torch
from torch import Tensor, nn

from ..data import GenerateSettings
from ..diffusion.guidance import Network
from ..errors import EmoInputError
from ..libraries import importing
from .memory import KNOBS, NOTHING, Mode, Weights, free_bytes, gigabytes, weight_bytes
from .placement import device_of, is_compiled

if TYPE_CHECKING:
    from ..models.emo import EmoModel
    from ..models.unet import Backbone

MODES: tuple[Mode, ...] = get_args(Mode)

CONDITIONS = ("audio_projection", "face_locator", "speed_layers", "posed_portrait")  # what a clip's conditions need
GENERATING = ("backbone", *CONDITIONS, "reference_net", "vae")  # all but the audio encoder
LAYERS_OF = ("down_blocks", "mid_block", "up_blocks")  # of a backbone; what stands beside them is small
STREAMS_SINCE = (0, 35)  # diffusers: before, a layer that is fetched ahead is not always waited for


class Mover:
    """What really moves; tests put a recording one in its place."""

    @contextmanager
    def bring(self, networks: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
        """Parameters and buffers on `device`. What they are in main memory stays there and is theirs again at the end,
        so that nothing is copied back. Raises EmoInputError where the device has no room for them."""
        tensors = list(_tensors(networks))
        _check_room([tensor for tensor in tensors if tensor.device.type != device.type], device)
        homes = [tensor.data for tensor in tensors]
        try:
            for tensor, home in zip(tensors, homes, strict=True):
                tensor.data = home.to(device)
            yield
        finally:
            for tensor, home in zip(tensors, homes, strict=True):
                tensor.data = home

    @contextmanager
    def group(self, backbone: Backbone, device: torch.device) -> Iterator[Network]:
        """The backbone with its layers on `device` one at a time, and on CUDA the next on its way; what stands beside
        the layers is there all the while. On CUDA the layers' home becomes page-locked memory, and stays so."""
        with importing("diffusers"):
            from diffusers.hooks import apply_group_offloading

        layers = layers_of(backbone)
        modules = list(dict.fromkeys(module for layer in layers for module in layer.modules()))
        forwards = {module for module in modules if "forward" in vars(module)}
        homes = [(tensor, tensor.data) for tensor in _tensors(layers)]
        with self.bring([module for name, module in backbone.named_children() if name not in LAYERS_OF], device):
            grouped = _LayerByLayer(backbone, layers)
            try:
                apply_group_offloading(
                    grouped,
                    onload_device=device,
                    offload_device=device_of(layers[0]),
                    offload_type="block_level",
                    num_blocks_per_group=1,
                    use_stream=device.type == "cuda" and _has_sound_streams(),
                )
                yield grouped
            finally:
                _remove_hooks(modules, keep=forwards)
                for tensor, home in homes:
                    if tensor.device != home.device:  # its layer was running when the work was broken off
                        tensor.data = home


class _LayerByLayer(nn.Module):
    """A backbone as diffusers' group offloading wants it: the layers in one list, beside it a module of its own (or
    nothing is fetched ahead), and a forward that runs them all."""

    def __init__(self, backbone: Backbone, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.root = nn.Identity()
        self._run = (backbone,)  # no child: its layers are children already

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return cast(Tensor, self._run[0](*args, **kwargs))


@dataclass(frozen=True)
class Offload:
    """A measure and the card it is for. Without a `device` every network is used where it is.

    `auto` is decided by `generate`, which counts; the stages before it go part by part then.
    """

    mode: Mode = "none"
    device: torch.device | None = None
    mover: Mover = field(default_factory=Mover, compare=False)

    @property
    def home(self) -> torch.device | None:
        """Where a model is to be loaded: main memory; None: where it runs."""
        return None if self.device is None else torch.device("cpu")

    def stage(self, model: EmoModel, *names: str) -> AbstractContextManager[None]:
        """The networks of these names (attributes of EmoModel; those that it does not have are left out) on the card
        for one stage."""
        if self.device is None:
            return nullcontext()
        networks = [network for name in names if (network := getattr(model, name)) is not None]
        return self.mover.bring(networks, self.device)

    def sampling(self, model: EmoModel) -> AbstractContextManager[Network]:
        """The backbone to sample with: whole on the card, or layer by layer."""
        if self.device is not None and self.mode == "groups":
            return self.mover.group(model.backbone, self.device)
        return self._whole(model)

    @contextmanager
    def _whole(self, model: EmoModel) -> Iterator[Network]:
        with self.stage(model, "backbone"):
            yield model.backbone

    @contextmanager
    def throughout(self, model: EmoModel) -> Iterator[Offload]:
        """For a whole run: with `none` all that it needs comes at once. Gives what its stages then go by."""
        if self.mode != "none":
            yield self
            return
        with self.stage(model, *GENERATING):
            yield Offload()


def offload_to(mode: Mode, device: torch.device) -> Offload:
    """What a user asked for, on the device the work runs on. `auto` does nothing on a CPU and on MPS, which have no
    memory of their own. Raises EmoInputError for an unknown mode, and for `parts` and `groups` on MPS.
    """
    if mode not in MODES:
        raise EmoInputError("offload", repr(mode), ", ".join(MODES))
    if mode == "none" or (mode == "auto" and device.type != "cuda"):
        return Offload()
    if device.type == "mps":
        raise EmoInputError("offload", f"{mode!r} on mps, whose memory is the main memory", "none, or auto")
    return Offload(mode, device)


def candidates(offload: Offload, model: EmoModel, settings: GenerateSettings) -> tuple[Mode, ...]:
    """The measures that may be taken, the smallest first. Raises EmoInputError where `groups` is asked for and cannot
    be."""
    obstacle = _obstacle(model.backbone, settings)
    if offload.mode == "groups" and obstacle is not None:
        raise EmoInputError("offload", f"groups with {obstacle}", "parts, or none")
    if offload.mode != "auto":
        return (offload.mode,)
    return ("none", "parts") if obstacle is not None else ("none", "parts", "groups")


def weights_of(model: EmoModel, offload: Offload) -> Weights:
    """What comes to the card in the stages of `generate`; nothing, where the model is there already."""
    if offload.device is None or offload.device.type == device_of(model.backbone).type:
        return NOTHING
    layers = sorted((weight_bytes(layer) for layer in layers_of(model.backbone)), reverse=True)
    backbone = weight_bytes(model.backbone)
    conditions = weight_bytes(*(network for name in CONDITIONS if (network := getattr(model, name)) is not None))
    weights = Weights(
        backbone=backbone,
        layers=backbone - sum(layers) + sum(layers[:2]),  # one that computes, one on its way
        conditions=conditions,
        reference_net=weight_bytes(model.reference_net),
        vae=weight_bytes(model.vae),
    )
    if model.config.clip.windows is None:
        return weights
    # Conditions are made while the backbone samples, and nothing encodes motion frames.
    return dataclasses.replace(weights, backbone=backbone + conditions, layers=weights.layers + conditions)


def layers_of(backbone: Backbone) -> list[nn.Module]:
    """Residual blocks, transformers, audio and motion modules, samplers: what is called as a module and large."""
    blocks = [*backbone.down_blocks, backbone.mid_block, *backbone.up_blocks]
    return [layer for block in blocks for group in block.children() for layer in cast(nn.ModuleList, group)]


def _tensors(networks: Iterable[nn.Module]) -> Iterator[Tensor]:
    for network in networks:
        yield from network.parameters()
        yield from network.buffers()


def _check_room(tensors: Sequence[Tensor], device: torch.device) -> None:
    needed, free = sum(tensor.nbytes for tensor in tensors), free_bytes(device)
    if free is not None and needed > free:
        found = f"{gigabytes(free)} free on {device}, where {gigabytes(needed)} of weights have to come"
        raise EmoInputError("memory", found, "enough for one stage of the work", KNOBS)


def _obstacle(backbone: Backbone, settings: GenerateSettings) -> str | None:
    """Why the layers cannot come and go; None if they can."""
    if settings.step_cache > 1:
        return "a step cache, which leaves layers out, where each fetches the next"
    if is_compiled(backbone):
        return "compiled blocks, which cannot be interrupted"
    if find_spec("accelerate") is None:
        return "no package accelerate, which diffusers needs for it (pip install accelerate)"
    return None


def _has_sound_streams() -> bool:
    with importing("diffusers"):
        import diffusers

    return tuple(int(number) for number in diffusers.__version__.split(".")[:2]) >= STREAMS_SINCE


def _remove_hooks(modules: Iterable[nn.Module], *, keep: set[nn.Module]) -> None:
    """Take off all that diffusers hung on; a `forward` of a module's own, which it leaves behind, unless in `keep`."""
    for module in modules:
        registry = vars(module).pop("_diffusers_hook", None)
        if registry is None:
            continue
        for name in reversed(list(registry.hooks)):
            registry.remove_hook(name, recurse=False)
        if module not in keep:
            vars(module).pop("forward", None)
