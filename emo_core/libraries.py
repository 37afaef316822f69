"""Other people's packages, imported where they are needed: in, import statements; out, the names they bind, or the
sentence that says which package is missing or broken, and what to do about it.

diffusers and transformers import every accelerator that pip has installed (xformers, bitsandbytes, torchvision ...),
and one that was built for another torch raises whatever it likes there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from .errors import EmoInputError

# Asked for by EMO's own requirements.txt; what these ask for in turn is needed as well.
ASKED_FOR = (
    "torch", "numpy", "einops", "safetensors", "transformers", "diffusers", "librosa", "soundfile", "av", "pillow",
)  # fmt: skip
THE_HOSTS = ("torchvision", "torchaudio")  # not EMO's, and nothing that a user of ComfyUI may remove
# These only pass on what others do wrong. In an error that went through them, whoever comes after is meant.
CARRIERS = {"torch", "diffusers", "transformers", "accelerate", "peft", "librosa", __name__.partition(".")[0]}


class UnusableLibrary(EmoInputError):
    """A package that is missing, or that fails when it is imported."""


@contextmanager
def importing(library: str) -> Iterator[None]:
    """Around import statements alone: whatever they raise becomes UnusableLibrary, which names the package at fault:
    `library`, or one that `library` imports."""
    try:
        yield
    except (EmoInputError, MemoryError):
        raise
    except Exception as error:  # a package may raise anything at its import
        raise _unusable(library, error) from error


def _unusable(library: str, error: Exception) -> UnusableLibrary:
    culprit, cause = _culprit(error) or library, _chain(error)[-1]
    package, version = _package(culprit)
    pip = f'"{sys.executable}" -m pip'
    if version is None or (isinstance(cause, ModuleNotFoundError) and cause.name == culprit):
        who = "" if culprit == library else f", which {library} imports"
        remedy = f"Install it, then start again: {pip} install {package}"
        return UnusableLibrary(package, f"that {package} is not installed{who}", "it", remedy)
    said = (str(cause).strip() or "no message").splitlines()[0]
    how = "fails when it is imported" if culprit == library else f"fails when {library} imports it"
    found = f"version {version}, which {how} ({type(cause).__name__}: {said[:300]})"
    torch = _package("torch")[1]
    if _plain(package) in _needed():
        remedy = f"Install it anew, then start again: {pip} install --force-reinstall --no-deps {package}"
        return UnusableLibrary(package, found, "one that works", remedy)
    allowed = f"one that goes with torch {torch}"
    if package in THE_HOSTS:
        remedy = "Install the one for your torch (https://pytorch.org/get-started/previous-versions), then start again."
        return UnusableLibrary(package, found, allowed, remedy)
    remedy = f"EMO does not need it. Remove it, then start again: {pip} uninstall {package}"
    return UnusableLibrary(package, found, f"{allowed}, or none", remedy)


def _culprit(error: BaseException) -> str | None:
    """The first module on the way to the error, by its top name, that is no carrier; if all are, what an ImportError
    names; else the last carrier."""
    carrier = None
    for each in _chain(error):
        step = each.__traceback__
        while step is not None:
            frame, step = step.tb_frame, step.tb_next
            top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if frame.f_code.co_name != "<module>" or top in sys.stdlib_module_names:
                continue
            if top not in CARRIERS:
                return top
            carrier = top
    named = [each.name for each in _chain(error) if isinstance(each, ImportError) and each.name]
    return named[-1].partition(".")[0] if named else carrier


def _chain(error: BaseException) -> list[BaseException]:
    """The error and those that led to it, the first cause last."""
    chain = [error]
    while True:
        last = chain[-1]
        cause = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if cause is None or cause in chain:
            return chain
        chain.append(cause)


def _package(module: str) -> tuple[str, str | None]:
    """What pip calls the package of a module, and its version; None where there is none."""
    for name in (*metadata.packages_distributions().get(module, ()), module):
        try:
            return name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return module, None


def _needed() -> set[str]:
    """Packages that EMO needs, and those that these need."""
    found: set[str] = set()
    waiting = [_plain(name) for name in ASKED_FOR]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        waiting += [_plain(re.split(r"[^\w.-]", each)[0]) for each in wanted if "extra ==" not in each]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
