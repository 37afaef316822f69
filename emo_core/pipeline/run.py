"""One run of `generate`: what stays the same from clip to clip, for the samplers of clips and of windows alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from ..data import AudioFeatures, Controls, GenerateSettings, Progress, ReferenceCache
from .conditions import region_of_frames
from .graphs import Graphs
from .offload import Offload
from .plan import ClipPlan

if TYPE_CHECKING:
    from ..models.emo import EmoModel

OnProgress = Callable[[Progress], None]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class Run:
    """Everything that stays the same from clip to clip; `steps` and `guidance` with the model's defaults filled in."""

    model: EmoModel
    reference: ReferenceCache
    audio: AudioFeatures
    controls: Controls
    settings: GenerateSettings
    steps: int
    guidance: float
    region: Tensor
    sway: Tensor | None  # (f, 3), see `video_sway`
    on_progress: OnProgress | None
    should_stop: ShouldStop | None
    offload: Offload = field(default_factory=Offload)
    graphs: Graphs | None = None

    @property
    def guided(self) -> bool:
        """Whether the network sees more than one row."""
        return self.guidance != 1.0 or self.settings.portrait_guidance is not None

    def region_at(self, plan: ClipPlan) -> Tensor:
        """The face region of a clip: (H, W), (1, H, W) or a picture (3, H, W)."""
        return region_of_frames(self.region, plan.start, plan.start + plan.kept, total=self.audio.frames)
