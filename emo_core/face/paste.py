"""Put generated frames back into the picture the portrait was cut from.

In: frames (H, W, 3) of the crop, and the `Portrait`. Out: whole pictures (H', W', 3) with the frame blended in over a
feathered border, its colours matched to the picture's. What lies outside the square, or outside a region that the user
names, is the picture itself, bit for bit: whatever the model paints there (EMO's stray hands) cannot appear.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import Portrait
from ..errors import EmoInputError
from .colour import match_colours
from .cut import cut, resized
from .image import in_colour
from .mask import Over
from .region import region_from_masks, soften
from .view import crop_view

log = logging.getLogger(__name__)

DEFAULT_FEATHER = 0.08  # width of the blend, as a share of the crop's side
RING = 0.08  # where no border is soft: the outer share of the square by which colours are matched
STATISTICS_SIDE = 128  # pixels at which colours are compared; more would only cost time


class Paster:
    """Puts frames of one portrait into its picture; everything that is the same for all frames is made once.

    `feather`: width of the soft border as a share of the crop's side, at most 0.5; 0 is a hard edge. `region`: masks
    (h, w) or (b, h, w) as of `region_from_masks`, outside which nothing changes; its border is softened inwards.
    `over`: what the masks lie over, the "picture", the "crop" or what their size says ("auto").
    """

    def __init__(
        self,
        portrait: Portrait,
        *,
        feather: float = DEFAULT_FEATHER,
        region: Tensor | None = None,
        over: Over = "auto",
        match_colour: bool = True,
    ) -> None:
        if not 0.0 <= feather <= 0.5:
            raise EmoInputError("feather", f"{feather}", "0 to 0.5")
        self.portrait, self.match_colour = portrait, match_colour
        self._side = max(1, round(portrait.crop_box[2] - portrait.crop_box[0]))
        self._rows, self._columns = _touched(portrait)
        self._grid: Tensor | None = None
        self._weight = torch.zeros(0, 0, 1)
        inside = None if region is None else region_from_masks(region, portrait, over=over)
        if self._rows.start < self._rows.stop and self._columns.start < self._columns.stop:
            self._place(feather, inside)
        self._ring = _ring(portrait, feather, inside)
        self._reference = _small(cut(portrait.source, portrait.crop_box, STATISTICS_SIDE, portrait.angle_deg))

    def __call__(self, frame: Tensor, original: Tensor | None = None) -> Tensor:
        """A copy of the picture with the frame (H, W, 3) in it. `original` (H', W', 3) is another picture of its size
        to paste into, such as a frame of a moving background. Grey ones, and such with alpha, are taken as portraits
        are."""
        frame = in_colour(frame, name="frame")
        original = None if original is None else in_colour(original, name="original")
        picture = self.portrait.source.clone() if original is None else original.clone()
        if picture.shape != self.portrait.source.shape:
            (height, width), (h, w) = self.portrait.source.shape[:2], picture.shape[:2]
            raise EmoInputError("original", f"{w}x{h} pixels", f"{width}x{height}, those of the portrait's picture")
        if not self._weight.numel():
            return picture
        frame = frame.to(picture)
        if self.match_colour:
            frame = match_colours(_small(frame), self._wanted(original), self._ring)(frame)
        patch = resized(frame.permute(2, 0, 1), self._side, self._side)
        if self._grid is None:
            left, top = (round(v) for v in self.portrait.crop_box[:2])
            rows = slice(self._rows.start - top, self._rows.stop - top)
            columns = slice(self._columns.start - left, self._columns.stop - left)
            patch = patch[:, rows, columns]
        else:
            patch = F.grid_sample(patch[None], self._grid, "bicubic", "border", align_corners=False)[0].clamp(0, 1)
        place = picture[self._rows, self._columns]
        picture[self._rows, self._columns] = torch.lerp(place, patch.permute(1, 2, 0), self._weight)
        return picture

    @property
    def weight(self) -> Tensor:
        """(H', W') over the whole picture: how much of each pixel is the frame's; exactly 0 where nothing changes."""
        whole = torch.zeros(self.portrait.source.shape[:2])
        if self._weight.numel():
            whole[self._rows, self._columns] = self._weight[..., 0]
        return whole

    def _place(self, feather: float, region: Tensor | None) -> None:
        """The weight of every pixel that the square touches, and for a turned square where to look in the frame."""
        y = torch.arange(self._rows.start, self._rows.stop, dtype=torch.float64) + 0.5
        x = torch.arange(self._columns.start, self._columns.stop, dtype=torch.float64) + 0.5
        here = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        shares = crop_view(self.portrait.crop_box, self.portrait.angle_deg).from_picture(here)
        weight = _border_weight(shares, feather)
        grid = (shares * 2 - 1).float()[None]
        if region is not None:
            inside = _feathered(region, feather)[None, None]
            seen = F.grid_sample(inside, grid, "bilinear", "border", align_corners=False)[0, 0]
            hard = F.grid_sample(region[None, None], grid, "nearest", "border", align_corners=False)[0, 0]
            weight = weight * seen * (hard > 0.5)
        self._weight = weight[..., None]
        self._grid = grid if self.portrait.angle_deg else None

    def _wanted(self, original: Tensor | None) -> Tensor:
        if original is None:
            return self._reference
        return _small(cut(original, self.portrait.crop_box, STATISTICS_SIDE, self.portrait.angle_deg))


def paste_back(
    frame: Tensor,
    portrait: Portrait,
    *,
    feather: float = DEFAULT_FEATHER,
    region: Tensor | None = None,
    over: Over = "auto",
    match_colour: bool = True,
) -> Tensor:
    """Blend one frame (H, W, 3) into a copy of `portrait.source`; the arguments are those of `Paster`."""
    return Paster(portrait, feather=feather, region=region, over=over, match_colour=match_colour)(frame)


def paste_frames(
    frames: Iterable[Tensor], paster: Paster, originals: Iterable[Tensor] | None = None
) -> Iterator[Tensor]:
    """Whole pictures for frames (H, W, 3), one at a time: memory is that of one, however many there are.

    `originals` are the pictures that the frames go into, one for each: where they end before the frames the last one is
    held, and what is left of them is not used; the log says so.
    """
    if originals is None:
        yield from map(paster, frames)
        return
    count, held, rest = 0, 0, iter(originals)
    original: Tensor | None = None
    for count, frame in enumerate(frames, 1):  # noqa: B007
        following = next(rest, None)
        held += following is None
        original = original if following is None else following
        yield paster(frame, original)
    if held:
        log.warning("original: %d pictures for %d frames, the last one is held", count - held, count)
    elif next(rest, None) is not None:
        log.warning("original: more pictures than the %d frames, the rest is not used", count)


def _touched(portrait: Portrait) -> tuple[slice, slice]:
    """The rows and columns of the picture that the square touches; empty slices if none."""
    view = crop_view(portrait.crop_box, portrait.angle_deg)
    reach = view.side / 2 * (abs(math.cos(view.angle)) + abs(math.sin(view.angle)))
    height, width = portrait.source.shape[:2]
    spans = []
    for centre, length in ((view.centre_y, height), (view.centre_x, width)):
        ends = (centre - reach, centre + reach)
        low, high = (round(v) for v in ends) if not portrait.angle_deg else (math.floor(ends[0]), math.ceil(ends[1]))
        spans.append(slice(max(low, 0), min(high, length)))
    return spans[0], spans[1]


def _border_weight(shares: Tensor, feather: float) -> Tensor:
    """Places (h, w, 2) as shares of the square's side -> (h, w): 1 inside, falling smoothly to 0 at the border."""
    inwards = torch.minimum(shares, 1 - shares)
    if feather == 0:
        return (inwards > 0).all(dim=-1).float()
    ramp = (inwards / feather).clamp(0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return (ramp[..., 0] * ramp[..., 1]).float()


def _feathered(region: Tensor, feather: float) -> Tensor:
    """A region (size, size), soft towards its inside: 0 at its border, 1 about `feather` of the side within."""
    if feather == 0:
        return (region > 0.5).float()
    blurred = soften((region > 0.5).float(), feather * region.shape[0] / 2)
    return ((blurred - 0.5) * 2.2).clamp(0, 1)


def _ring(portrait: Portrait, feather: float, region: Tensor | None) -> Tensor:
    """Where frame and picture should be the same, at STATISTICS_SIDE: the soft border, and what a region leaves out; as
    far as it lies in the picture."""
    side = STATISTICS_SIDE
    steps = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    shares = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
    ring = _border_weight(shares, max(feather, RING)) < 1
    if region is not None:
        ring |= F.interpolate(region[None, None], size=(side, side), mode="bilinear", antialias=True)[0, 0] < 0.5
    x, y = crop_view(portrait.crop_box, portrait.angle_deg).to_picture(shares).unbind(-1)
    height, width = portrait.source.shape[:2]
    return ring & (x >= 0) & (y >= 0) & (x < width) & (y < height)


def _small(picture: Tensor) -> Tensor:
    """(H, W, 3) at STATISTICS_SIDE."""
    if picture.shape[:2] == (STATISTICS_SIDE, STATISTICS_SIDE):
        return picture
    return resized(picture.permute(2, 0, 1), STATISTICS_SIDE, STATISTICS_SIDE).permute(1, 2, 0)
