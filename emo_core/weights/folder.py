"""What model folders hold: in, folders that may not exist; out, names for a list, and the file or folder behind one.

A name is the path below its folder, with forward slashes on every system, so that saved workflows travel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import EmoInputError
from ..files import exists, shown
from .locate import bundled_models, is_weights, walk
from .read import CONFIG_FILE

# Where files that EMO reads are published, by what their names begin with.
PUBLISHED = {
    "net.pth": "https://huggingface.co/fudan-generative-ai/hallo",
    "denoising_unet.bin": "https://huggingface.co/tk93/V-Express",
    "denoising_unet": "https://huggingface.co/BadToBest/EchoMimic",
    "wav2vec2-base": "https://huggingface.co/facebook/wav2vec2-base-960h",
    "wav2vec2-large": "https://huggingface.co/facebook/wav2vec2-large-960h-lv60-self",
    "sd-vae": "https://huggingface.co/stabilityai/sd-vae-ft-mse",
    "diffusion_pytorch_model": "https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5",
}


def model_names(folders: Iterable[Path]) -> list[str]:
    """Bundled models first, then what the folders hold, in order; never raises, whatever state a folder is in."""
    found = [name for folder in folders for name in _names_in(folder)]
    return list(dict.fromkeys([*bundled_models(), *found]))


def find_model(name: str, folders: Sequence[Path]) -> Path | None:
    """The file or folder that a name of `model_names` stands for; None if it is not there (any more)."""
    if not isinstance(name, str):  # a workflow may say anything
        return None
    if name in bundled_models():
        return Path(__file__).parent / name
    if not name or Path(name).anchor or ".." in Path(name).parts:
        return None
    return next((folder / name for folder in folders if exists(folder / name)), None)


def missing_model(name: str, folders: Sequence[Path]) -> EmoInputError:
    """The error for a name that no folder has: which file, where it belongs, where it is published."""
    where, name = str(folders[0]) if folders else "models/emo", shown(str(name))
    url = next((url for start, url in PUBLISHED.items() if Path(name).name.startswith(start)), None)
    source = f"It is published at {url}." if url else "Ask whoever gave you this workflow where it is published."
    remedy = f"{source} Put it into {where} and press R to refresh the lists, or choose {bundled_models()[0]}."
    return EmoInputError("model", f"no file {name!r} in {where}", "a model that is there", remedy)


def find_below(name: str, folders: Iterable[Path]) -> Path | None:
    """The first file of this name in one of the folders, or up to three folders below, through links."""
    for folder in folders:
        for here, _, files in walk(folder, depth=3):
            if name in files and (here / name).is_file():
                return here / name
    return None


def file_identity(path: Path) -> str:
    """Changes when the file, or a file of the folder, is replaced: from names, sizes and times, not from content."""
    digest = hashlib.sha256()
    files = [here / name for here, _, names in walk(path) for name in names] or [path]
    for file in files:
        try:
            stat = file.stat()
        except (OSError, ValueError):  # gone, or never there: that too is told from its being there
            continue
        digest.update(f"{shown(file)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _names_in(folder: Path) -> list[str]:
    """Folders that are a model, and weight files that lie in none."""
    names = []
    for here, below, files in walk(folder):
        weights = [name for name in files if is_weights(name) and (here / name).is_file()]
        if here != folder and weights and (CONFIG_FILE in files or len(weights) > 1):
            names.append(here.relative_to(folder).as_posix())
            below.clear()
        else:
            names += [(here / name).relative_to(folder).as_posix() for name in weights]
    return sorted(names)
