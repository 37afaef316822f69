"""Models in EMO's own form: in, a file or folder; out, whether we saved it and how, its tensors and configuration.

A model is one `.safetensors` or a folder of them (so that every file stays small). In each file's metadata stand the
configuration and our mark, which says what kind of save wrote it: a `Mark`. Files of a folder also say their names, so
that a copy of one under another name is not taken for ours.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..config import EmoConfig
from ..errors import EmoInputError
from ..files import shown
from .locate import safetensors_in
from .pickled import AGAIN, first_five
from .read import CONFIG_KEY, SAFETENSORS, read_header, read_tensors

PARTS = {  # file name -> the model's parts in it
    "vae": ("vae",),
    "audio": ("audio_encoder", "audio_projection"),
    "network": ("backbone", "reference_net", "face_locator", "speed_layers", "posed_portrait"),
}
OWN_NAMES = frozenset(part for parts in PARTS.values() for part in parts)
MARK_KEY = "emo_save"  # in the metadata, beside CONFIG_KEY: Mark as text
NAME_KEY = "emo_file"  # in the metadata of a folder's file: what the save called it
MODEL, FOLDER, PART = "model", "folder", "part"
_GIVEN = rf"({'|'.join(PARTS)})(?:-([2-9]|[1-9][0-9]+))?"  # `file_name`, without its ending
_FOLDER_FILE = re.compile(rf"{_GIVEN}\{SAFETENSORS}")
_UNFINISHED = re.compile(rf"{_GIVEN}~[0-9a-f]{{16}}\{SAFETENSORS}")


@dataclass(frozen=True)
class Mark:
    """What a save of ours says of a file: it is a whole model ("model"), one of the files of a model's folder
    ("folder"), or a part under its released names ("part", by `convert`). Of a folder also which save in a row it was,
    and how many files it wrote."""

    kind: str
    number: int = 0
    files: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.number} {self.files}" if self.kind == FOLDER else self.kind

    @classmethod
    def parse(cls, text: str) -> Mark | None:
        found = re.fullmatch(r"(model|part)|folder ([0-9]{1,9}) ([0-9]{1,4})", text)
        if found is None:
            return None
        return cls(found[1]) if found[1] else cls(FOLDER, int(found[2]), int(found[3]))


def mark_of(path: Path) -> Mark | None:
    """How we saved a file; None for a file that is not ours. Files of before there were marks carry a configuration
    alone: there the names tell."""
    if path.suffix.lower() != SAFETENSORS:
        return None
    try:
        tensors, metadata = read_header(path)
    except EmoInputError:
        return None
    if CONFIG_KEY not in metadata:
        return None
    said = Mark.parse(metadata.get(MARK_KEY, ""))
    if said is not None:
        return said
    names = {name.split(".")[0] for name in tensors}
    found = _FOLDER_FILE.fullmatch(path.name)
    if found is not None and names <= set(PARTS[found[1]]):
        return Mark(FOLDER)
    return Mark(MODEL if names & OWN_NAMES else PART)


def of_saves(files: Iterable[Path]) -> dict[Path, Mark]:
    """Those of a folder's files that our saves of the folder wrote, with their marks: each under the name that the save
    gave it. A copy of one under another name is somebody's backup, and a link is somebody's too."""
    known: dict[int, set[str]] = defaultdict(set)  # the tensors of a save, by its number
    ours: dict[Path, Mark] = {}
    for part, number, file in sorted((*place, file) for file in files if (place := _place(file)) is not None):
        mark = None if file.is_symlink() else mark_of(file)
        if mark is None or mark.kind != FOLDER:
            continue
        tensors, metadata = read_header(file)
        if NAME_KEY in metadata:
            is_own = metadata[NAME_KEY] == file_name(part, number)
        else:  # of before: there a copy is known by what it repeats
            is_own = known[mark.number].isdisjoint(tensors)
        if is_own:
            known[mark.number].update(tensors)
            ours[file] = mark
    return ours


def file_name(part: str, number: int) -> str:
    """What a model's folder calls the first, second ... file of a part: vae.safetensors, vae-2.safetensors ..."""
    return f"{part}{'' if number == 1 else f'-{number}'}{SAFETENSORS}"


def _place(file: Path) -> tuple[str, int] | None:
    """Of which part the name says that a file is, and which of its files."""
    found = _FOLDER_FILE.fullmatch(file.name) or _UNFINISHED.fullmatch(file.name)
    return None if found is None else (found[1], int(found[2] or 1))


def unfinished_name(name: str, token: str) -> str:
    """What a file of a folder is called until those of the save before are gone; `token` is 16 hexadecimal digits."""
    return f"{name.removesuffix(SAFETENSORS)}~{token}{SAFETENSORS}"


def model_files(path: Path) -> list[Path]:
    """The file, or the safetensors files of a folder. Of a folder in which a save died, the files of the save that is
    whole: the new one once all its files are there, and until then the old one."""
    if not path.is_dir():
        return [path]
    files = safetensors_in(path)
    unfinished = {file for file in files if _UNFINISHED.fullmatch(file.name)}
    if not unfinished:
        return files
    marks = {file: mark for file in files if (mark := mark_of(file)) is not None and mark.kind == FOLDER}
    ours = of_saves(files)
    for number in sorted({marks[file].number for file in unfinished & marks.keys()}, reverse=True):
        save = {file for file, mark in ours.items() if mark.number == number}
        if save and all(marks[file].files == len(save) for file in save):
            return [file for file in files if file in save or file not in marks]
    return [file for file in files if file not in unfinished]


def saved_here(path: Path) -> bool:
    """Whether a file, or a safetensors file of a folder, carries a configuration and tensors under our own names.

    A converted part carries one too, but keeps the names that it was released with.
    """
    for file in model_files(path):
        if file.suffix.lower() == SAFETENSORS:
            tensors, metadata = read_header(file)
            if CONFIG_KEY in metadata and any(name.split(".")[0] in OWN_NAMES for name in tensors):
                return True
    return False


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], EmoConfig | None]:
    """All tensors of a file, or of the files of a folder, and the configuration they carry, if any."""
    files = model_files(path)
    if not files:
        found = f"the folder {shown(path)} without a {SAFETENSORS} file"
        raise EmoInputError("model", found, "a folder that holds a model")
    tensors: dict[str, Tensor] = {}
    configs: dict[str, Path] = {}
    for file in files:
        part, metadata = read_tensors(file)
        twice = sorted(set(part) & set(tensors))
        if twice:
            found = f"{first_five(twice)} twice in the folder {shown(path)}"
            raise EmoInputError("model", found, "each tensor in one file", "Keep one model per folder.")
        tensors |= part
        if CONFIG_KEY in metadata:
            configs[metadata[CONFIG_KEY]] = file
    if len(configs) > 1:
        found = f"different configurations in {first_five([file.name for file in configs.values()])}"
        raise EmoInputError("model", found, "one model per folder")
    return tensors, next((stored_config(text, file) for text, file in configs.items()), None)


def stored_config(text: str, file: Path) -> EmoConfig:
    """The configuration in a file's metadata. Raises EmoInputError that names field and file."""
    try:
        return EmoConfig.from_json(text)
    except EmoInputError as error:
        found = f"{error.found}, in {shown(file.name)}"
        raise EmoInputError(error.name, found, error.allowed, error.remedy or AGAIN) from error
