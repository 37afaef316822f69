"""Which files the workflows of released models take: for the note beside the graph, and for the frontend's offer.

Sizes and places are those of the models' own pages (`docs/released-checkpoints.md`).
"""

from __future__ import annotations

_HALLO_PAGE = "https://huggingface.co/fudan-generative-ai/hallo/resolve/main"
_ECHOMIMIC_PAGE = "https://huggingface.co/BadToBest/EchoMimic/resolve/main"
_VAE_PAGE = "https://huggingface.co/stabilityai/sd-vae-ft-mse/resolve/main"

_PUT = """Put them into ComfyUI's `models/emo` and press **R**; or into a folder in it, and choose that folder in **EMO
Load Model**. They are told apart by what is in them, so they may be renamed (all but EchoMimic's *_acc*)."""

HALLO_FILES = f"""## Files
{_PUT}

| file | size | from |
|---|---|---|
| `net.pth` | 4.85 GB | huggingface.co/fudan-generative-ai/hallo, *hallo* |
| `diffusion_pytorch_model.safetensors` | 335 MB | the VAE: the same page, *sd-vae-ft-mse* |
| `model.safetensors` | 378 MB | wav2vec2: the same page, *wav2vec/wav2vec2-base-960h* |

Not needed, but better. For both: `pip install onnxruntime`. They may lie anywhere below `models/emo`.

| file | size | for |
|---|---|---|
| `glintr100.onnx` | 261 MB | likeness: the same page, *face_analysis/models* |
| `Kim_Vocal_2.onnx` | 67 MB | voices with music: the same page, *audio_separator* |"""

ECHOMIMIC_FILES = f"""## Files
{_PUT}

| file | size | from |
|---|---|---|
| `denoising_unet.pth` | 3.4 GB | huggingface.co/BadToBest/EchoMimic |
| `motion_module.pth` | 1.8 GB | the same page |
| `reference_unet.pth` | 3.3 GB | the same page |
| `face_locator.pth` | 4 MB | the same page |
| `whisper_tiny.pt` | 76 MB | the same page, *audio_processor* |
| `diffusion_pytorch_model.safetensors` | 335 MB | the VAE: huggingface.co/stabilityai/sd-vae-ft-mse |

Faster: put `denoising_unet_acc.pth` and `motion_module_acc.pth` of the same page beside them and choose the first in
**EMO Load Model**: 6 steps without guidance instead of 30 with it."""


def _file(page: str, path: str) -> dict[str, str]:
    """A file of the model folder, in the form of a node's `properties.models`."""
    return {"name": path.rpartition("/")[2], "url": f"{page}/{path}", "directory": "emo"}


HALLO_MODELS = [
    _file(_HALLO_PAGE, "hallo/net.pth"),
    _file(_HALLO_PAGE, "sd-vae-ft-mse/diffusion_pytorch_model.safetensors"),
    _file(_HALLO_PAGE, "wav2vec/wav2vec2-base-960h/model.safetensors"),
]
ECHOMIMIC_MODELS = [
    _file(_ECHOMIMIC_PAGE, "denoising_unet.pth"),
    _file(_ECHOMIMIC_PAGE, "motion_module.pth"),
    _file(_ECHOMIMIC_PAGE, "reference_unet.pth"),
    _file(_ECHOMIMIC_PAGE, "face_locator.pth"),
    _file(_ECHOMIMIC_PAGE, "audio_processor/whisper_tiny.pt"),
    _file(_VAE_PAGE, "diffusion_pytorch_model.safetensors"),
]
