"""Long videos without motion frames: all frames denoised together, in windows that overlap (EchoMimic, V-Express).

In: a run. Out: the latents of the whole video. Where windows overlap, their predictions are averaged before the step.
EchoMimic's windows close to a ring, the last reaching over to the first frame, and are moved on at every step, so that
no frame is always at an edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..config import WindowConfig
from ..control.settle import settle_weights
from ..data import Conditions, Progress, ReferenceCache
from ..diffusion.anchor import Anchor
from ..diffusion.denoise import denoise
from ..diffusion.guidance import GuidedRows, Network, guided_rows, predict_guided
from ..diffusion.noise import clip_noise, named_generator
from ..diffusion.shortcuts import is_guided
from .conditions import encode_region, region_of_frames
from .offload import CONDITIONS
from .placement import device_of, dtype_of, reference_to_network, to_network

if TYPE_CHECKING:
    from ..models.emo import EmoModel
    from .recovery import Thrift
    from .run import Run

TOKEN_CHUNK = 64  # frames whose audio tokens are made at a time


def context_windows(step: int, total: int, size: int, *, config: WindowConfig) -> Iterator[list[int]]:
    """The windows of one step (0, 1, ...): `size` frame numbers each, all `total` frames in at least one.

    Open windows end with the video; closed ones run on at its beginning.
    """
    if total <= size:
        yield list(range(total))
        return
    stride = size - config.overlap
    for start in range(0, total if config.closed else total - config.overlap, stride):
        first = start if config.closed else min(start, total - size)
        yield [(frame + config.shift_per_step * step) % total for frame in range(first, first + size)]


@torch.no_grad()
def denoise_video(run: Run, model: EmoModel, thrift: Thrift) -> Tensor | None:
    """Clean latents (f, c, h, w) float32 of all frames, on the backbone's device; None when stopped. The silence behind
    the sound is denoised too, so that the last frames are no edge of the video."""
    with run.offload.stage(model, *CONDITIONS), run.offload.sampling(model) as network:
        return _denoise(run, model, thrift, network)


def _denoise(run: Run, model: EmoModel, thrift: Thrift, network: Network) -> Tensor | None:
    backbone, config = model.backbone, model.config
    assert config.clip.windows is not None
    tail = 0 if run.audio.tail is None else len(run.audio.tail)
    total, windows = run.audio.frames + tail, config.clip.windows  # what lies in the tail is computed and cut off
    rows = _RowsOfWindows(run, model, thrift)
    reference = run.reference
    assert reference.latents is not None
    noise = clip_noise(run.settings.seed, 0, (total, *reference.latents.shape[1:]), config.schedule)
    done = 0

    def predict(noisy: Tensor, timestep: Tensor) -> Tensor:
        nonlocal done
        summed, counted = torch.zeros_like(noisy), torch.zeros(total, device=noisy.device)
        for window in context_windows(done, total, config.clip.frames, config=windows):
            part = noisy[:, window].to(dtype_of(backbone))
            seen = rows.of(window, guided=is_guided(timestep, run.settings))
            summed[:, window] += predict_guided(network, part, timestep, seen).float()
            counted[window] += 1
        done += 1
        return summed / counted.view(1, -1, 1, 1, 1)

    def report(step: int, clean: Tensor) -> None:
        if run.on_progress is not None:
            run.on_progress(Progress(0, 1, step, run.steps, clean[0, : config.clip.frames]))

    latents = denoise(
        predict,
        noise[None].to(device_of(backbone)),
        config.schedule,
        scheduler=run.settings.scheduler,
        steps=run.steps,
        generator=named_generator(run.settings.seed, "steps of the video"),
        anchor=_anchor(run, reference, total),
        on_step=report,
        should_stop=run.should_stop,
    )
    return None if latents is None else latents[0, : run.audio.frames]


def _anchor(run: Run, reference: ReferenceCache, total: int) -> Anchor | None:
    """What draws the silent ends of the video to the portrait, the tail too."""
    weights = settle_weights(run.audio.frames, run.audio.lead_in, run.audio.lead_out)
    if weights is None:
        return None
    assert reference.latents is not None
    behind = weights[-1:].expand(total - len(weights))
    return Anchor(reference.latents[:1].unsqueeze(1).float(), torch.cat([weights, behind]))


class _RowsOfWindows:
    """What the network sees of each window: the reference and the face region are one, the sound is the window's."""

    def __init__(self, run: Run, model: EmoModel, thrift: Thrift) -> None:
        self.run, self.model, self.thrift = run, model, thrift
        self.reference = reference_to_network(run.reference, model.backbone)
        self.features: dict[tuple[int, int], Tensor] = {}
        heard = run.audio.windows if run.audio.tail is None else torch.cat([run.audio.windows, run.audio.tail])
        parts = (self._tokens(part) for part in heard.split(TOKEN_CHUNK))
        self.tokens = torch.cat([to_network(part, model.backbone) for part in parts])

    def _tokens(self, windows: Tensor) -> Tensor:
        """(f, w, l, d) -> (f, k, d)."""
        projection = self.model.audio_projection
        network = projection if any(True for _ in projection.parameters()) else self.model.backbone
        tokens: Tensor = projection(to_network(windows, network)[None])[0]
        return tokens

    def of(self, window: list[int], *, guided: bool = True) -> GuidedRows:
        conditions = Conditions(audio_tokens=self.tokens[window][None], face_feature=self._face_feature(window))
        return guided_rows(
            self.reference,
            conditions,
            self.model.config.guidance,
            scale=self.run.guidance if guided else 1.0,
            portrait_scale=self.run.settings.portrait_guidance if guided else None,
            one_row_per_pass=self.thrift.one_row_per_pass,
        )

    def _face_feature(self, window: list[int]) -> Tensor:
        """The face locator's feature of the region of these frames, made once for each that is needed."""
        moves = self.run.region.ndim == 4
        frames = (min(window), max(window) + 1) if moves else (0, 1)
        if frames not in self.features:
            region = region_of_frames(self.run.region, *frames, total=self.run.audio.frames)
            feature = encode_region(self.model, region, self.run.controls.face_strength)
            self.features[frames] = to_network(feature, self.model.backbone)
        return self.features[frames]
