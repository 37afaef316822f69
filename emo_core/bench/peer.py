"""A family's own checkout beside our model of that family: one clip, on the same weights, latents and conditions.

In: the folder of a user's checkout. Out: a line with both times, how far the results are apart, and the memory of each.
A clip is what the family's pipeline does between the VAE's two ends: the small networks, ReferenceNet over the portrait
and the motion frames, then the backbone in every step with guidance. Weights are random: they tell time, memory and
whether both compute the same, not what pictures look like.

Nothing of a checkout is part of this repository, and nothing of it or of its libraries is changed: its classes are
called as they are (`peer_hallo`). If it does not import beside the libraries that are installed here, that is said.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from ..config import HALLO, EmoConfig, IdentityConfig, VAEConfig
from ..data import ClipState, Controls
from ..diffusion.schedule import TRAIN_TIMESTEPS
from ..errors import EmoInputError
from ..files import exists, shown
from ..models.emo import EmoModel
from .measure import Versus, versus
from .peer_clip import ClipInput, clip_input
from .peer_hallo import HalloNetworks
from .released import hallo_tensors

log = logging.getLogger(__name__)

# family -> its name, its package, files that only it has there
CHECKOUTS = {
    "hallo": ("Hallo", "hallo", ("models/unet_3d.py", "models/audio_proj.py", "models/mutual_self_attention.py")),
    "echomimic": ("EchoMimic", "src", ("models/unet_3d_echo.py",)),
    "v_express": ("V-Express", "modules", ("v_kps_guider.py", "unet_3d.py")),
}
RUN = ("hallo",)  # the families whose own code the bench can run
SIZES = ("small", "full")
# Relative RMS of the latents up to which both have computed the same. Measured at the small size, 1 to 20 steps: 2e-5,
# and 9e-3 in float16, where Hallo keeps its latents so too and we do not. It tells the smallest known difference, that
# features are rounded to half precision between the networks (3e-4); any other is 0.1 and more.
SAME = {torch.float32: 2e-4, torch.float16: 0.03}
PARTS = ("backbone", "reference_net", "audio_projection", "face_locator")  # of our model: VAE and wav2vec2 stand aside
_BROKEN = (ImportError, AttributeError, TypeError, ValueError, RuntimeError, SyntaxError)  # how it ends

SMALL_HALLO = dataclasses.replace(
    HALLO,
    name="hallo-small",
    unet=dataclasses.replace(
        HALLO.unet, block_out_channels=(32, 64, 64, 64), audio_dim=40, identity=IdentityConfig(embedding=24, width=48)
    ),
    face_locator=dataclasses.replace(HALLO.face_locator, channels=(4, 8, 12, 16)),
    audio_encoder=dataclasses.replace(
        HALLO.audio_encoder, conv_dim=(16,) * 7, hidden_size=16, heads=4, intermediate_size=32, pos_conv_groups=4
    ),
    audio_projection=dataclasses.replace(HALLO.audio_projection, tokens=8, hidden=32),
    vae=VAEConfig(block_out_channels=(32,) * 4, layers_per_block=1),
    clip=dataclasses.replace(HALLO.clip, frames=6, size=128),
)


@dataclass(frozen=True)
class Checkout:
    """Somebody's folder with a released system's code. `package` is what is imported from there."""

    path: Path
    family: str
    package: str

    @property
    def title(self) -> str:
        return CHECKOUTS[self.family][0]


@dataclass(frozen=True)
class PeerLine:
    """One checkout measured. `times.a` is the peer's, `times.b` ours; `difference` is the relative RMS of the latents.
    `*_mib`: the most CUDA memory beside the weights, which both share; None elsewhere."""

    name: str
    frames: int
    steps: int
    dtype: str
    difference: float
    limit: float
    times: Versus
    peer_mib: float | None = None
    product_mib: float | None = None

    @property
    def is_same(self) -> bool:
        return self.difference <= self.limit  # not so for a difference that is no number

    def as_text(self) -> str:
        """The row below its heading. Where both do not compute the same, no ratio is printed."""
        ratio = f"{self.times.ratio:.2f}x" if self.is_same else "differ"
        row = (
            f"{self.name:<12} {self.frames:>6} {self.steps:>6}  {self.times.a.as_text():<22}"
            f" {self.times.b.as_text():<22} {ratio:>6}  {self.difference:.0e}  {self.dtype}"
        )
        if self.peer_mib is not None and self.product_mib is not None:
            row += f"\n{'':<12} VRAM beside the weights: peer {self.peer_mib:.0f}, product {self.product_mib:.0f} MiB"
        return f"peer         frames  steps  peer s (10-90 %)       product s (10-90 %)     ratio  same   in\n{row}"


def find_checkout(path: Path) -> Checkout:
    """Whose checkout a folder is. Raises EmoInputError where it is nobody's, or of a family that the bench does not
    run."""
    allowed = "the folder of a git checkout of Hallo, which holds hallo/"
    if not (exists(path) and path.is_dir()):
        raise EmoInputError("peer", f"{shown(path)}, which is no folder", allowed)
    for family, (title, package, files) in CHECKOUTS.items():
        if all((path / package / file).is_file() for file in files):
            if family not in RUN:
                raise EmoInputError("peer", f"a checkout of {title}, whose own code the bench does not run", allowed)
            return Checkout(path.resolve(), family, package)
    raise EmoInputError("peer", f"{path} without the networks of Hallo, EchoMimic or V-Express", allowed)


@contextmanager
def importing(checkout: Checkout) -> Iterator[None]:
    """The checkout's package can be imported inside, and is gone outside, with all that it brought under its name: one
    block must import all that is used together. Raises EmoInputError as `answering_for`."""
    hidden = _taken_out(checkout.package)
    sys.path.insert(0, str(checkout.path))
    try:
        with answering_for(checkout):
            yield
    finally:
        sys.path.remove(str(checkout.path))
        _taken_out(checkout.package)
        sys.modules.update(hidden)


@contextmanager
def answering_for(checkout: Checkout) -> Iterator[None]:
    """Raises EmoInputError for what the checkout's own code, called inside, fails of; a lack of memory is no such."""
    try:
        yield
    except (EmoInputError, torch.OutOfMemoryError):
        raise
    except _BROKEN as error:
        raise _refused(checkout, error) from error


def _taken_out(package: str) -> dict[str, ModuleType]:
    """The modules of a package, no longer in sys.modules."""
    names = [name for name in sys.modules if name == package or name.startswith(f"{package}.")]
    return {name: sys.modules.pop(name) for name in names}


def _refused(checkout: Checkout, error: Exception) -> EmoInputError:
    """What a checkout's own failure means for the user, in a sentence."""
    where = f"{checkout.title}'s checkout {checkout.path}"
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and missing.split(".")[0] == checkout.package:
        return EmoInputError("peer", f"{where} without the module {missing}", "a whole checkout")
    if missing is not None:
        remedy = f"Install what its requirements.txt names for {missing}."
        return EmoInputError("peer", f"{where}, which needs {missing}", "its own requirements installed here", remedy)
    said = " ".join(str(error).split())[:200] or type(error).__name__
    remedy = "Use an environment with the versions that its requirements.txt names."
    return EmoInputError("peer", f"{where}, which fails here ({said})", "code that runs beside these libraries", remedy)


def peer_config(checkout: Checkout, size: str) -> EmoConfig:
    """The family's model in one of SIZES: `small` is for a CPU, `full` as released."""
    assert checkout.family == "hallo"
    return SMALL_HALLO if size == "small" else HALLO


def our_model(config: EmoConfig, tensors: dict[str, Tensor], *, device: torch.device, dtype: torch.dtype) -> EmoModel:
    """Our networks on the released `tensors` themselves, not on copies where they are in place. VAE and audio encoder
    stay without memory."""
    from ..weights.file import assign, without_memory
    from ..weights.released import drop_unread, named

    ours = named("model", tensors)
    drop_unread(ours, config)
    model = without_memory(lambda: EmoModel(config))
    for part in PARTS:
        own = {name.removeprefix(f"{part}."): value for name, value in ours.items() if name.startswith(f"{part}.")}
        assign(getattr(model, part), own, device=device, dtype=dtype, where=f"{config.name}'s {part}")
    return model


@torch.no_grad()
def our_clip(model: EmoModel, clip: ClipInput) -> Tensor:
    """Clean latents (1, f, c, h, w) float32, as `pipeline.generate` makes those of a clip."""
    from ..diffusion.denoise import denoise
    from ..diffusion.guidance import guided_rows, predict_guided
    from ..pipeline.conditions import clip_conditions, encode_region
    from ..pipeline.motion import with_motion_frames
    from ..pipeline.placement import device_of, dtype_of, reference_to_network
    from ..pipeline.plan import plan_clip
    from ..pipeline.reference import encode_latents, project_reference

    backbone = model.backbone
    features = encode_latents(model.reference_net, clip.latents, clip.portrait)
    reference = project_reference(backbone, features, clip.portrait, config=model.config)
    reference = dataclasses.replace(reference, region_weights=clip.region_weights)
    reference = with_motion_frames(model, reference, ClipState(1, clip.motion_latents))
    conditions = clip_conditions(
        model,
        clip.audio,
        Controls(),
        plan_clip(0, clip.frames, clip.frames),
        face_feature=encode_region(model, clip.face_region, 1.0),
        portrait=clip.latents,
        sway=None,
    )
    reference = reference_to_network(reference, backbone)
    rows = guided_rows(reference, conditions, model.config.guidance, scale=clip.guidance)
    device, dtype = device_of(backbone), dtype_of(backbone)
    latents = denoise(
        lambda noisy, timestep: predict_guided(backbone, noisy.to(dtype), timestep, rows),
        clip.noise.to(device),
        model.config.schedule,
        steps=clip.steps,
    )
    assert latents is not None
    return latents


def measure_peer(
    path: Path, *, size: str, steps: int, turns: int, device: torch.device, dtype: torch.dtype
) -> PeerLine:
    """Run a user's checkout and our model in turns. Raises EmoInputError where the checkout cannot be run here."""
    checkout = find_checkout(path)
    if dtype not in SAME:
        allowed = "float16 or float32, which go with the half precision in which Hallo hands features on"
        raise EmoInputError("dtype", _name(dtype), allowed)
    if not 1 <= steps <= TRAIN_TIMESTEPS or TRAIN_TIMESTEPS % steps:  # else Hallo's scheduler stops short of clean
        raise EmoInputError("steps", f"{steps}", f"a divisor of {TRAIN_TIMESTEPS}, such as 2 or 40")
    config = peer_config(checkout, size)
    with importing(checkout):  # before any weights are made: most of what can be wrong is wrong here
        networks = HalloNetworks(config)
    tensors = {name: value.to(device) for name, value in hallo_tensors(config, dtype).items()}
    model = our_model(config, tensors, device=device, dtype=dtype)
    clip = clip_input(model, steps=steps)

    def theirs() -> Tensor:
        return networks.clip(clip, config.schedule)

    def ours() -> Tensor:
        return our_clip(model, clip)

    with answering_for(checkout):
        networks.load(tensors)
        expected = theirs()
    difference = relative_rms(ours(), expected)
    log.info("%s: relative RMS %.1e", config.name, difference)
    times = versus(theirs, ours, turns)
    return PeerLine(
        name=config.name,
        frames=clip.frames,
        steps=steps,
        dtype=_name(dtype),
        difference=difference,
        limit=SAME[dtype],
        times=times,
        peer_mib=_peak_mib(theirs, device),
        product_mib=_peak_mib(ours, device),
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _peak_mib(work: Callable[[], object], device: torch.device) -> float | None:
    """The most CUDA memory that a run holds above what was held before; None without CUDA, where nothing is run."""
    if device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def relative_rms(got: Tensor, expected: Tensor) -> float:
    """RMS of the difference over the RMS of what is expected."""
    difference = (got.double() - expected.double()).square().mean().sqrt()
    return float(difference / expected.double().square().mean().sqrt())
