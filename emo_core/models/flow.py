"""Backward flow: for every place of a picture, how far away what is seen there lies in another one.

A flow is (b, 2, h, w), x and y, in halves of the picture's side, so that it says the same at every size. Places are
the middles of cells throughout (torch: `align_corners=False`): a flow of zero reads every pixel as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_CUBIC = ("cpu", "cuda", "meta")  # devices that have a kernel for cubic convolution; meta counts what those take
_SHARP = -0.75  # its slope at the first neighbour


def read_along(maps: Tensor, flow: Tensor) -> Tensor:
    """Maps (b or 1, c, H, W) read where the flow (b, 2, h, w) says -> (b, c, h, w), linearly between cells; beyond the
    border lies the border.

    float32 inside: half precision has steps of a pixel in a large picture. The places are clamped here, for not every
    device has a kernel that does it.
    """
    return _read(maps, *_places(maps, flow)).to(maps.dtype)


def read_finely(pictures: Tensor, flow: Tensor) -> Tensor:
    """Pictures read as `read_along` reads maps, but by cubic convolution of 4 x 4 pixels (torch's, a = -0.75): a linear
    reading is a blur. Of a face's finest detail (Laplacian energy; six photographs, half of them turning) it left .66
    at 256 pixels and .74 at 512, this leaves .94 and .99. Values may lie a little beyond the pictures' own."""
    if pictures.device.type not in _CUBIC:
        return read_in_nine(pictures, flow)
    grid = torch.stack(_places(pictures, flow), dim=-1)
    every = pictures.float().expand(len(flow), -1, -1, -1)
    return read_at(every, grid, mode="bicubic", padding_mode="border", align_corners=False).to(pictures.dtype)


def read_in_nine(pictures: Tensor, flow: Tensor) -> Tensor:
    """`read_finely` for devices without its kernel: of the four pixels in a line the middle two are one linear reading
    between them, so that 4 x 4 pixels are 3 x 3 linear readings."""
    across, down = _places(pictures, flow)
    height, width = pictures.shape[-2:]
    read = across.new_zeros(len(across), pictures.shape[1], *across.shape[1:])
    for y, of_y in _cubic(down, height):
        for x, of_x in _cubic(across, width):
            read += _read(pictures, x, y) * (of_x * of_y)[:, None]
    return read.to(pictures.dtype)


def _cubic(places: Tensor, cells: int) -> list[tuple[Tensor, Tensor]]:
    """Places between -1 and 1 as three places of linear readings, each with its weight."""
    exact = ((places + 1) * cells - 1) / 2
    first = exact.floor()
    t = exact - first
    near, far = ((_SHARP + 2) * s**3 - (_SHARP + 3) * s**2 + 1 for s in (t, 1 - t))
    taps = [
        (first - 1, _SHARP * t * (1 - t) ** 2),
        (first + far / (near + far), near + far),
        (first + 2, _SHARP * (1 - t) * t**2),
    ]
    return [(_kept_inside((2 * at + 1) / cells - 1, cells), weight) for at, weight in taps]


def _read(maps: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """(b, c, h, w) float32, linearly, at places (b, h, w) inside the maps."""
    grid = torch.stack([across, down], dim=-1)
    every = maps.float().expand(len(grid), -1, -1, -1)
    return read_at(every, grid, padding_mode="zeros", align_corners=False)


def read_at(maps: Tensor, grid: Tensor, **how: Any) -> Tensor:
    """torch's `grid_sample`, in training too: its backward on a CPU writes outside of its memory where a place is no
    number, as in a run that diverges. There the middle is read, and made no number again, for the loop to see."""
    if not grid.requires_grad:
        return functional.grid_sample(maps, grid, **how)
    lost = (grid - grid).sum(dim=-1)[:, None]  # 0, or no number
    return functional.grid_sample(maps, grid.nan_to_num(nan=0.0), **how) + lost


def _places(maps: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Where the flow says, across and down (b, h, w): from -1 to 1, the middle of a border's cell at the farthest."""
    across = flow[:, 0].float() + _middles(flow.shape[3], flow.device)
    down = flow[:, 1].float() + _middles(flow.shape[2], flow.device)[:, None]
    return _kept_inside(across, maps.shape[3]), _kept_inside(down, maps.shape[2])


def _kept_inside(places: Tensor, cells: int) -> Tensor:
    return places.clamp(1 / cells - 1, 1 - 1 / cells)


def resized(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps (b, c, h, w) of values between cells, for another number of cells; a flow keeps its unit."""
    if maps.shape[-2:] == (height, width):
        return maps
    return functional.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)


def shrunk(pictures: Tensor, height: int, width: int) -> Tensor:
    """Pictures (b, c, H, W) averaged over areas; where those are no whole number of pixels, enlarged to such first
    (areas of other sizes have no kernel on every device)."""
    if pictures.shape[-2:] == (height, width):
        return pictures
    down, across = (-(-old // new) for old, new in zip(pictures.shape[-2:], (height, width), strict=True))
    return functional.avg_pool2d(resized(pictures, down * height, across * width), (down, across))


def _middles(cells: int, device: torch.device) -> Tensor:
    """The middles of so many cells between -1 and 1, float32."""
    return (torch.arange(cells, device=device, dtype=torch.float32) * 2 + 1) / cells - 1
