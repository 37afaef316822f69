"""A whole model's configuration, to JSON and back."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Literal

from ..errors import EmoInputError
from .fields import from_plain, refuse_impossible
from .parts import (
    AudioEncoderConfig,
    AudioProjectionConfig,
    ClipConfig,
    FaceLocatorConfig,
    GuidanceConfig,
    PosedPortraitConfig,
    ScheduleConfig,
    UNetConfig,
    VAEConfig,
)

MAX_TEXT = 1_000_000  # characters; ours has about 4000


@dataclass(frozen=True)
class EmoConfig:
    """A whole model."""

    name: str = "emo-sd15"
    family: Literal["emo", "v_express", "hallo", "echomimic"] = "emo"
    unet: UNetConfig = field(default_factory=UNetConfig)
    face_locator: FaceLocatorConfig = field(default_factory=FaceLocatorConfig)
    audio_encoder: AudioEncoderConfig = field(default_factory=AudioEncoderConfig)
    audio_projection: AudioProjectionConfig = field(default_factory=AudioProjectionConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    posed_portrait: PosedPortraitConfig | None = None  # then control/sway.py draws the head's movement
    fits_float16: bool = True  # no: features leave its range, and float32 is the default everywhere

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str, *, where: str = "emo_config") -> EmoConfig:
        """The configuration that `text` says. Raises EmoInputError for text that is no JSON, for a field that this
        version does not know, so that nothing is silently ignored, and for values that no network can have."""
        if len(text) > MAX_TEXT:
            raise EmoInputError(where, f"{len(text)} characters", f"at most {MAX_TEXT}")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:  # no JSON, a number of more digits than Python reads, too deep
            reason = str(error)[:100]
            raise EmoInputError(where, f"text that is not JSON ({reason})", "a JSON object") from error
        config: EmoConfig = from_plain(cls, data, where)
        return config.refuse_impossible(where)

    def refuse_impossible(self, where: str = "emo_config") -> EmoConfig:
        """Itself. Raises EmoInputError for sizes that one network or stage cannot have."""
        refuse_impossible(self, where)
        return self

    def refuse_mismatch(self) -> None:
        """Raises EmoInputError where the parts do not fit together: only of a whole model, for a file may hold one part
        and say of the others whatever it likes."""
        unet, vae, locator, encoder = self.unet, self.vae, self.face_locator, self.audio_encoder
        pairs = {
            "unet.in_channels": (unet.in_channels, vae.latent_channels, "as the VAE's latent_channels"),
            "unet.out_channels": (unet.out_channels, vae.latent_channels, "as the VAE's latent_channels"),
            "face_locator.channels": (2 ** (len(locator.channels) - 1), vae.downscale, "times smaller, as the VAE"),
        }
        if self.audio_projection.kind == "none":
            pairs["unet.audio_dim"] = (unet.audio_dim, encoder.hidden_size, "as the audio encoder's hidden_size")
        for field_name, (found, allowed, why) in pairs.items():
            if found != allowed:
                raise EmoInputError(f"emo_config.{field_name}", str(found), f"{allowed}, {why}", "Get the file again.")
