"""The door that ComfyUI knocks on: `comfy_entrypoint`. Without a host this is a plain package (see `emo_core`)."""

from pathlib import Path

try:
    import comfy_api  # noqa: F401
except ImportError:
    pass
else:
    if (Path(__file__).parent / "nodes" / "__init__.py").is_file():
        from .nodes import comfy_entrypoint

        __all__ = ["comfy_entrypoint"]
