"""Where models are: in, a name, a path or a folder; out, the files that lie there, through links, in any state."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from ..errors import EmoInputError
from ..files import expanded, is_file_or_folder, shown
from .read import PICKLED, SAFETENSORS

MAX_FILES = 300  # of a folder: more is somebody's whole collection, not a model
MAX_FOLDERS = 10_000  # that are looked into: more is a link to somebody's whole disk


def resolve(name: str | Path) -> Path:
    """The file or folder a name stands for: a bundled model first, then the path itself."""
    if str(name) in bundled_models():
        return Path(__file__).parent / str(name)
    path, said = expanded(name), f"'{shown(str(name))}'"
    allowed = f"the path of a checkpoint, or one of the bundled models: {', '.join(bundled_models()) or 'none'}"
    if not str(name).strip():
        raise EmoInputError("model", "no name", allowed)
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        missing = "a link to what does not exist" if path.is_symlink() else "which does not exist"
        raise EmoInputError("model", f"{said}, {missing}", allowed) from error
    except (OSError, ValueError) as error:  # too long, a loop of links, a folder that may not be entered; a zero byte
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise EmoInputError("model", f"{said}, which cannot be looked up ({reason})", allowed) from error
    if not is_file_or_folder(path):
        raise EmoInputError("model", f"{said}, a pipe or a device", allowed)
    if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
        raise EmoInputError("model", f"the folder {said}, which may not be read", allowed)
    return path


def bundled_models() -> list[str]:
    """Names of the models that ship beside this file."""
    return sorted(p.name for p in Path(__file__).parent.iterdir() if any(p.glob(f"*{SAFETENSORS}")))


def walk(folder: Path, *, depth: int | None = None) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Folders from `folder` on, the nearest first, each with the names of the folders in it and of all else; as many
    levels down as `depth`. Names that are taken out of the first list are not looked into.

    Links are followed, and a link back to a folder above ends there. What cannot be read is empty.
    """
    waiting: deque[tuple[Path, frozenset[tuple[int, int]]]] = deque([(folder, frozenset())])
    for _ in range(MAX_FOLDERS):
        if not waiting:
            return
        here, above = waiting.popleft()
        try:
            state = os.stat(here)
            with os.scandir(here) as found:
                entries = sorted((entry.name, _is_folder(entry)) for entry in found)
        except (OSError, ValueError):
            continue
        itself = (state.st_dev, state.st_ino)
        if itself in above:
            continue
        below = [name for name, is_folder in entries if is_folder]
        yield here, below, [name for name, is_folder in entries if not is_folder]
        if depth is None or len(above) < depth:
            waiting.extend((here / name, above | {itself}) for name in below)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_weights(name: str) -> bool:
    """Whether a file is one of weights, by its name."""
    return Path(name).suffix.lower() in (SAFETENSORS, *PICKLED)


def safetensors_in(folder: Path) -> list[Path]:
    """The safetensors files of a folder, in order; broken links and pipes too, so that they are named when read."""
    names = next((files for _, _, files in walk(folder, depth=0)), [])
    return [folder / name for name in names if Path(name).suffix.lower() == SAFETENSORS]


def weight_files(path: Path) -> list[Path]:
    """The file, or the weight files of a folder and two folders below; of the same weights in two forms, the safe."""
    if not path.is_dir():
        return [path]
    found = [here / name for here, _, files in walk(path, depth=2) for name in files if is_weights(name)]
    if len(found) > MAX_FILES:
        remedy = "Choose the folder of one model."
        raise EmoInputError("model", f"{path.name} with {len(found)} files of weights", "one model", remedy)
    kept = [f for f in found if f.suffix.lower() == SAFETENSORS or f.with_suffix(SAFETENSORS) not in found]
    return sorted(kept)
