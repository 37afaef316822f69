"""Approximate ways to spend less on a step, all off by default: guidance in part of the steps only, guidance used
again in the steps after, and a step cache.

In: the rows of a clip with and without guidance, the settings. Out: predictions. What is kept between steps lives in
one `Shortcuts`, made for one clip. What they cost in quality is measured by `evaluate`, what they save by
`bench --approximate`; the README has both.
"""

from __future__ import annotations

from torch import Tensor

from ..data import DeepFeatures, GenerateSettings
from .guidance import GuidedRows, Network, combine, predict_rows
from .schedule import TRAIN_TIMESTEPS

EVERYWHERE = (0.0, 1.0)


def is_guided(timestep: Tensor, settings: GenerateSettings) -> bool:
    """Whether the step at `timestep` () on the CPU lies in the interval in which there is guidance."""
    low, high = settings.guidance_interval or EVERYWHERE
    return low <= float(timestep) / TRAIN_TIMESTEPS <= high


class Shortcuts:
    """The steps of one clip. `guided`: its rows; `unguided`: the conditional row alone, for steps outside the interval.

    Guidance interval (arXiv 2404.07724): guidance only at noise levels low <= t / 1000 <= high. Guidance reuse: the
    unconditional row is asked in every n-th guided step, else the last step's difference guides again. Step cache
    (DeepCache, arXiv 2312.00858): the deep blocks run in every n-th step and where the rows change, else their last
    features serve.
    """

    def __init__(self, guided: GuidedRows, unguided: GuidedRows, settings: GenerateSettings) -> None:
        self.rows = {True: guided, False: unguided}
        self.settings, self.every = settings, settings.step_cache
        self._step, self._guided = 0, True
        self._deep: tuple[DeepFeatures, ...] = ()
        self._guidance: Tensor | None = None  # what guidance last added to the conditional row
        self._guidance_age = 0  # guided steps since then

    def predict(self, network: Network, latents: Tensor, timestep: Tensor) -> Tensor:
        """The next step's prediction (1, f, c, h, w); `timestep` () on the CPU."""
        guided, reuse = is_guided(timestep, self.settings), self.settings.guidance_reuse
        again = guided and self._guidance is not None and self._guidance_age < reuse
        rows = self.rows[guided and not again]
        predictions = predict_rows(network, latents, timestep, rows, deep=self._features(rows))
        if again:
            assert self._guidance is not None
            self._guidance_age += 1
            return predictions.float() + self._guidance
        made = combine(predictions, rows)
        if guided and reuse > 1:
            self._guidance, self._guidance_age = made.float() - predictions[-1:].float(), 1
        return made

    def _features(self, rows: GuidedRows) -> tuple[DeepFeatures, ...] | None:
        """Deep features for the step's passes: those of a step before, or empty ones to be filled; None: no cache."""
        guided = rows is self.rows[True]
        if self.every > 1 and (self._step % self.every == 0 or guided != self._guided):
            self._deep = tuple(DeepFeatures() for _ in rows.passes)
        self._step, self._guided = self._step + 1, guided
        return self._deep or None
