"""The cast of photo puppets: photographs of people whom training never saw.

In: folders of portraits, of which those of the test split are taken (training/puppets/people.py), or none: then the
portraits of this repository that are kept for testing. Out: a `cases.Cast`, and the photographs themselves as squares.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import EmoInputError
from ..face.crop import prepare_portrait
from ..face.image import read_image
from ..files import is_folder
from ..training.clips import Clip
from ..training.heads.job import HeadJob
from ..training.puppets.check import why_thrown_out
from ..training.puppets.dataset import make_clip
from ..training.puppets.people import find_pictures, is_tested
from ..training.puppets.photograph import Photograph, Unfit, alike, look_at, person_of
from .truth import FPS, Squares

log = logging.getLogger(__name__)

PORTRAITS = Path(__file__).parents[2] / "tests" / "data" / "portraits"
# Of these, whoever is in the test split by the picture at its source (README.md there): the reduced one has other bits.
KEPT = (  # in an order in which the first few are various
    "female-61", "male-78", "female-52", "male-5", "female-75", "male-7", "female-29", "male-42",
)  # fmt: skip


class Puppets:
    """The first `people` of these pictures that can be puppets, `size` pixels on a side. Raises EmoInputError where
    there is none."""

    def __init__(self, pictures: Sequence[Path], people: int, size: int) -> None:
        self.size, self.photographs = size, _fit(pictures, people)
        self.people = len(self.photographs)

    def perform(self, job: HeadJob) -> Clip:
        photograph = self.photographs[job.identity]
        return make_clip(photograph, replace(job, identity=photograph.person), size=self.size, fps=FPS)

    def trusted(self, clip: Clip) -> bool:
        """Whether the face mesh, which knows nothing of puppets, sees what the truth says."""
        return why_thrown_out(clip) is None

    def squares(self, size: int) -> Squares:
        """Everybody's portrait, cut as `animate` does."""
        found = [prepare_portrait(read_image(photograph.path), size) for photograph in self.photographs]
        pictures = np.stack([(portrait.crop.clamp(0, 1) * 255).round().byte().numpy() for portrait in found])
        return Squares(pictures, np.array([portrait.face_box for portrait in found], np.float32))


def unseen_pictures(folders: Sequence[Path] | None) -> list[Path]:
    """The pictures of people of the test split, in an order that has nothing to do with their names. Raises
    EmoInputError for folders without any, and where this is no checkout and none are given."""
    if folders is None:
        if not is_folder(PORTRAITS):
            remedy = "Give --photos folders of portraits, or --sets heads."
            raise EmoInputError("--photos", "none", "folders of portraits, where this is no checkout", remedy)
        return [PORTRAITS / f"{name}.jpg" for name in KEPT]
    pictures = find_pictures(folders)
    people = {}
    for path in pictures:
        try:
            people[path] = person_of(read_image(path))
        except EmoInputError:  # no picture: `train puppets` leaves it, too
            continue
    tested = sorted((path for path, person in people.items() if is_tested(person)), key=people.__getitem__)
    log.info("%d of %d pictures are of the test split", len(tested), len(pictures))
    if not tested:
        found, allowed = f"{len(pictures)} pictures, none of them of the test split", "people kept for testing"
        remedy = "One in twelve is, by the hash of its pixels: give more pictures, or leave --photos out."
        raise EmoInputError("--photos", found, allowed, remedy)
    return tested


def _fit(pictures: Sequence[Path], people: int) -> list[Photograph]:
    fit: list[Photograph] = []
    for path in pictures:
        if len(fit) == people:
            break
        try:
            photograph = look_at(path)
        except Unfit as unfit:
            log.info("%s is left: %s", path.name, unfit)
            continue
        if not any(alike(photograph, other) for other in fit):
            fit.append(photograph)
    if not fit:
        remedy = "Give pictures of single, upright faces, at least 240 pixels wide."
        raise EmoInputError("--photos", f"nobody in {len(pictures)} pictures who can be a puppet", "somebody", remedy)
    return fit
