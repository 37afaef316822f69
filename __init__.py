"""The door that ComfyUI knocks on: `comfy_entrypoint`. Without a host this is a plain package (see `emo_core`)."""

try:
    import comfy_api  # noqa: F401
except ImportError:
    pass
else:
    from .nodes import comfy_entrypoint

    WEB_DIRECTORY = "./web"  # help pages

    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
