"""EMO's nodes for ComfyUI. Each takes records from its sockets, calls `emo_core`, and packs what comes back.

This package is the only one that knows ComfyUI. Importing it needs no host: the nodes are imported when a host asks.
"""

from __future__ import annotations

from typing import Any


async def comfy_entrypoint() -> Any:
    """What ComfyUI calls once: the extension with all nodes."""
    from comfy_api.latest import ComfyExtension

    from .audio import EncodeAudio
    from .controllers import EmphasisController, FaceMask, FaceRegionController, SpeedController
    from .example import ExampleInputs
    from .loaders import LoadAudioEncoder, LoadBackbone, LoadModel, LoadReferenceNet
    from .portrait import EncodeReference, PasteBack, PreparePortrait
    from .sampling import Sampler
    from .video import SampleToVideo

    class EmoExtension(ComfyExtension):
        async def get_node_list(self) -> list[Any]:
            return [
                LoadModel,
                LoadReferenceNet,
                LoadBackbone,
                LoadAudioEncoder,
                PreparePortrait,
                EncodeReference,
                EncodeAudio,
                FaceMask,
                FaceRegionController,
                SpeedController,
                EmphasisController,
                Sampler,
                SampleToVideo,
                PasteBack,
                ExampleInputs,
            ]

    return EmoExtension()
