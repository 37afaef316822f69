"""What a model is: frozen dataclasses, stored as JSON with the weights (`emo_config` in the safetensors metadata).

Nothing here is a tensor and nothing here imports torch. `parts` are the dataclasses, `model` the whole of them,
`presets` whole models; `fields` reads them from JSON that may say anything. What EMO leaves unpublished (speed buckets,
guidance, noise schedule, condition drops) is a field with our value and its source.
"""

from .model import EmoConfig
from .parts import (
    AudioEncoderConfig,
    AudioModuleConfig,
    AudioProjectionConfig,
    ClipConfig,
    FaceLocatorConfig,
    GuidanceConfig,
    IdentityConfig,
    MotionModuleConfig,
    PosedPortraitConfig,
    ScheduleConfig,
    SpeedConfig,
    UNetConfig,
    VAEConfig,
    WindowConfig,
)
from .presets import ECHOMIMIC, EMO_MINI, EMO_MINI_HEADS, EMO_SD15, HALLO, PRESETS, TINY, TINY_REFERENCED, V_EXPRESS

__all__ = [
    "ECHOMIMIC",
    "EMO_MINI",
    "EMO_MINI_HEADS",
    "EMO_SD15",
    "HALLO",
    "PRESETS",
    "TINY",
    "TINY_REFERENCED",
    "V_EXPRESS",
    "AudioEncoderConfig",
    "AudioModuleConfig",
    "AudioProjectionConfig",
    "ClipConfig",
    "EmoConfig",
    "FaceLocatorConfig",
    "GuidanceConfig",
    "IdentityConfig",
    "MotionModuleConfig",
    "PosedPortraitConfig",
    "ScheduleConfig",
    "SpeedConfig",
    "UNetConfig",
    "VAEConfig",
    "WindowConfig",
]
