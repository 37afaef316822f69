"""Who a face is, for models that read an embedding of it (Hallo): a portrait in, an ArcFace embedding (512,) out.

The network is the user's own file (insightface's `glintr100.onnx`, of its antelopev2 package), run by onnxruntime where
that is installed. Without either the embedding is absent: the model then sees nobody's, as Hallo does without a face.
Five points of the mesh are laid over ArcFace's template (Deng et al. 2019, arXiv 1801.07698; insightface's table).
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import Portrait
from ..errors import EmoInputError
from ..libraries import UnusableLibrary, importing

log = logging.getLogger(__name__)

FILE = "glintr100.onnx"
SIDE = 112  # pixels of ArcFace's input
# Where ArcFace wants eyes, nose and corners of the mouth (the person's right is on the left), in its 112 pixels.
TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
# The same in the mesh: corners of each eye (their middle counts), tip of the nose, corners of the mouth.
MESH = ((33, 133), (362, 263), (4,), (61,), (291,))


def with_identity(portrait: Portrait, network: Path | None) -> Portrait:
    """The portrait with its embedding, if there are the network (FILE), onnxruntime and a mesh; else as it is, said in
    the log."""
    if network is None:
        log.warning("%s is not beside the model: the face is left to the picture alone.", FILE)
    elif portrait.landmarks is None:
        log.warning("No mesh was fitted to this face, so %s cannot look at it.", FILE)
    else:
        try:
            return dataclasses.replace(portrait, identity=identity_embedding(portrait, network))
        except UnusableLibrary as error:
            log.warning("%s is there, but cannot be used. %s", network, error)
    return portrait


def identity_embedding(portrait: Portrait, network: Path) -> Tensor:
    """ArcFace's embedding (512,), not normalised. Raises UnusableLibrary without a working onnxruntime,
    EmoInputError for a file that is no such network."""
    with importing("onnxruntime"):
        import onnxruntime

    picture = (align(portrait) * 255.0 - 127.5) / 127.5
    try:
        session: Any = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        (made,) = session.run(None, {name: picture.permute(2, 0, 1)[None].numpy()})
    except Exception as error:  # onnxruntime's errors share no base class
        allowed = "insightface's network for faces of 112x112"
        raise EmoInputError("identity", f"{network.name}, which does not run ({error})", allowed) from error
    embedding = torch.from_numpy(made).float().flatten()
    if embedding.numel() != 512:
        raise EmoInputError("identity", f"{network.name} with {embedding.numel()} outputs", "512, those of ArcFace")
    return embedding


def align(portrait: Portrait) -> Tensor:
    """The face turned, moved and scaled onto ArcFace's template: (112, 112, 3) in 0..1, black outside the crop."""
    assert portrait.landmarks is not None
    points = portrait.landmarks[:, :2].double()
    five = torch.stack([points[list(ids)].mean(dim=0) for ids in MESH])
    matrix = similarity(torch.tensor(TEMPLATE, dtype=torch.float64), five)
    place = torch.arange(SIDE, dtype=torch.float64)
    rows, columns = torch.meshgrid(place, place, indexing="ij")
    grid = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1) @ matrix.T  # pixels of the crop
    height, width = portrait.crop.shape[:2]
    size = torch.tensor([width, height], dtype=torch.float64)
    grid = ((grid * 2 + 1) / size - 1).float()
    picture = portrait.crop.permute(2, 0, 1)[None].float()
    seen = F.grid_sample(picture, grid[None], mode="bilinear", padding_mode="zeros", align_corners=False)
    return seen[0].permute(1, 2, 0)


def similarity(source: Tensor, target: Tensor) -> Tensor:
    """The turn, scale and shift (2, 3) that lays points (n, 2) over others with the least squared error (Umeyama)."""
    middle, goal = source.mean(dim=0), target.mean(dim=0)
    before, after = source - middle, target - goal
    u, stretch, vt = torch.linalg.svd(after.T @ before)
    flip = torch.diag(torch.tensor([1.0, float(torch.sign(torch.det(u @ vt)))], dtype=source.dtype))
    turn = u @ flip @ vt
    scale = (stretch * flip.diagonal()).sum() / before.square().sum()
    return torch.cat([scale * turn, (goal - scale * turn @ middle)[:, None]], dim=1)
