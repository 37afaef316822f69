"""Backward flow: for every place of a picture, how far away what is seen there lies in another one.

A flow is (b, 2, h, w), x and y, in halves of the picture's side, so that it says the same at every size. Places are
the middles of cells throughout (torch: `align_corners=False`): a flow of zero reads every pixel as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def read_along(maps: Tensor, flow: Tensor) -> Tensor:
    """Maps (b or 1, c, H, W) read where the flow (b, 2, h, w) says -> (b, c, h, w); beyond the border lies the border.

    float32 inside: half precision has steps of a pixel in a large picture. The places are clamped here, for not every
    device has a kernel that does it.
    """
    across = flow[:, 0].float() + _middles(flow.shape[3], flow.device)
    down = flow[:, 1].float() + _middles(flow.shape[2], flow.device)[:, None]
    height, width = maps.shape[-2:]
    inside = (1 - 1 / width, 1 - 1 / height)
    grid = torch.stack([at.clamp(-edge, edge) for at, edge in zip((across, down), inside, strict=True)], dim=-1)
    every = maps.float().expand(len(flow), -1, -1, -1)
    return functional.grid_sample(every, grid, padding_mode="zeros", align_corners=False).to(maps.dtype)


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
