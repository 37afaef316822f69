"""What is measured: videos that the model makes of the test set's people. In: a model and a test set. Out: `Take`s.

Each kind of take is generated once, when first asked for, and shared by all measures. A take holds what the product's
own path gives (encode_reference, encode_audio, generate), as the 8-bit pictures that a video would show.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..data import ClipState, Controls, GenerateSettings, ReferenceCache
from ..face.region import grow_box
from .faces import FaceTrack, follow
from .photographs import Showing, show
from .speaking import Pictures, Sound, reference_of, speak
from .truth import FPS, SAMPLE_RATE, Case, TruthSet

if TYPE_CHECKING:
    from ..models.emo import EmoModel

log = logging.getLogger(__name__)

ROOM_NOISE = 1e-3  # -60 dB: the silence of a quiet room; a file of zeros is refused as an input
EVERY = 5  # every fifth frame is looked at where neighbours are alike
SPEEDS = (0.1, 0.7, 1.3, 1.9)  # degrees per frame (issue 2; the paper's Table 2 measures speed too)


@dataclass(frozen=True)
class Budget:
    """How much is generated. Frames per video; numbers of videos are the first so many cases."""

    shuffled: int = 8
    silent: int = 4
    speed: int = 2
    speed_frames: int = 56
    long: int = 1
    shown: int = 20  # portraits without truth
    shown_frames: int = 28


@dataclass(frozen=True)
class Take:
    """A generated video of a case's person. `frames` (f, H, W, 3); `borders`: first frames of the clips but the first;
    `heard`: the case whose sound was spoken (None: another sound); `region` (4,) where the face was allowed; `states`:
    what each clip left for the next."""

    case: Case
    frames: Pictures
    borders: tuple[int, ...]
    heard: Case | None
    region: NDArray[np.float32]
    states: tuple[ClipState, ...] = ()

    @cached_property
    def face(self) -> FaceTrack | None:
        return follow(self.frames)


class Studio:
    """Generates and keeps the takes of one model on one test set."""

    def __init__(self, model: EmoModel, tests: TruthSet, settings: GenerateSettings, budget: Budget) -> None:
        self.model, self.tests, self.settings, self.budget = model, tests, settings, budget
        self._references: dict[str, ReferenceCache] = {}

    @cached_property
    def right(self) -> tuple[Take, ...]:
        """Every case with its own sound."""
        return tuple(self._speak(case, case.samples, heard=case) for case in self.tests.cases)

    @cached_property
    def shuffled(self) -> tuple[Take, ...]:
        """Cases with another one's sound."""
        cases = self.tests.cases
        pairs = [(case, cases[(i + _stride(len(cases))) % len(cases)]) for i, case in enumerate(cases)]
        return tuple(self._speak(case, other.samples, heard=other) for case, other in pairs[: self.budget.shuffled])

    @cached_property
    def silent(self) -> tuple[Take, ...]:
        """Cases with a quiet room."""
        rng = np.random.default_rng((self.tests.spec.seed, 93))
        takes = []
        for case in self.tests.cases[: self.budget.silent]:
            quiet = (ROOM_NOISE * rng.standard_normal(len(case.samples))).astype(np.float32)
            takes.append(self._speak(case, quiet, heard=None))
        return tuple(takes)

    @cached_property
    def long(self) -> tuple[Take, ...]:
        """People with half a minute of sentences."""
        return tuple(
            self._speak(case, self.tests.long_samples, heard=None) for case in self.tests.cases[: self.budget.long]
        )

    @cached_property
    def at_speeds(self) -> Mapping[float | None, tuple[Take, ...]]:
        """The same people and sounds at each speed setting, and without one (None); the face may go anywhere."""
        size = float(self.tests.spec.size)
        everywhere, takes = (0.0, 0.0, size, size), {}
        samples = round(self.budget.speed_frames / FPS * SAMPLE_RATE)
        for speed in (None, *SPEEDS):
            controls = Controls(face_region=everywhere, speed=speed)
            takes[speed] = tuple(
                self._generate(case, case.samples[:samples], controls, heard=case)
                for case in self._moving_first[: self.budget.speed]
            )
        return takes

    @cached_property
    def decoded(self) -> tuple[Pictures, ...]:
        """The truth of every case through the VAE, with its portrait where that is read: the best that any denoiser
        could show."""
        from .train_readers import round_trip

        return tuple(round_trip(self.model.vae, case.frames, case.portrait) for case in self.tests.cases)

    @cached_property
    def showings(self) -> tuple[Showing, ...]:
        """The portraits without truth, each with a part of the long sound."""
        return show(
            self.model, self.tests, self.settings, people=self.budget.shown, frames=self.budget.shown_frames
        )  # fmt: skip

    @cached_property
    def true_faces(self) -> tuple[FaceTrack | None, ...]:
        """The faces of every case's truth, in every fifth frame."""
        return tuple(follow(case.frames[::EVERY]) for case in self.tests.cases)

    @cached_property
    def _moving_first(self) -> Sequence[Case]:
        return sorted(self.tests.cases, key=lambda case: not case.moving)

    def _speak(self, case: Case, sound: Sound, heard: Case | None) -> Take:
        """A moving case is asked for its true mean speed inside its true region, a still one for no movement."""
        speed = float(case.speed_deg.mean()) if case.moving else 0.0
        controls = Controls(face_region=region_of(case), speed=speed if self.model.speed_layers is not None else None)
        return self._generate(case, sound, controls, heard=heard)

    def _generate(
        self,
        case: Case,
        sound: Sound,
        controls: Controls,
        heard: Case | None,
        *,
        settings: GenerateSettings | None = None,
        lead_s: tuple[float, float] = (0.0, 0.0),
        resume: ClipState | None = None,
        clips: int | None = None,
        draw: int = 0,
    ) -> Take:
        """`clips`: no more than so many are made of what is heard; `draw`: another noise for another number."""
        settings = replace(settings or self.settings, seed=self.settings.seed + int(case.name[:3]) + 1000 * draw)
        spoken = speak(
            self.model, self._reference(case), sound, controls, settings, lead_s=lead_s, resume=resume, clips=clips
        )
        log.info("generated %s: %d frames, speed %s", case.name, len(spoken.frames), controls.speed)
        region = np.asarray(controls.face_region, np.float32)
        return Take(case, spoken.frames, spoken.borders, heard, region, spoken.states)

    def _reference(self, case: Case) -> ReferenceCache:
        if case.name not in self._references:
            self._references[case.name] = reference_of(self.model, case.portrait, case.portrait_box)
        return self._references[case.name]


def region_of(case: Case) -> tuple[float, float, float, float]:
    """The union of the true face boxes, grown by a twentieth, as in training (paper 3.2: M)."""
    low, high = case.face_box[:, :2].min(axis=0), case.face_box[:, 2:].max(axis=0)
    size = float(case.frames.shape[1])
    left, top, right, bottom = grow_box((float(low[0]), float(low[1]), float(high[0]), float(high[1])), 0.05, 0.05)
    return max(0.0, left), max(0.0, top), min(size, right), min(size, bottom)


def _stride(cases: int) -> int:
    """Someone else's sound: four kinds take turns, so another multiple of four keeps the kind where there is room."""
    return 4 if cases > 4 else 1
