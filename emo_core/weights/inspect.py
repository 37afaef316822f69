"""What is this checkpoint: in, a path; out, family, parts, parameter counts and types, read from the names alone.

Which sort it is tell `kinds`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..config import EmoConfig
from ..errors import EmoInputError
from ..files import shown
from .kinds import Kind, recognise
from .locate import resolve, weight_files
from .read import CONFIG_KEY, read_header
from .released import Gathered, configured, drop_unread, gather, named, sources
from .saved import model_files, saved_here, stored_config


@dataclass(frozen=True)
class FileReport:
    """One file of several that make a model."""

    path: Path
    kind: Kind
    parameters: int


@dataclass(frozen=True)
class CheckpointReport:
    """What `inspect` found. `parts`: first component of the names -> parameters; `dtypes`: type -> parameters."""

    path: Path
    kind: Kind
    config: EmoConfig | None
    tensors: int
    parameters: int
    bytes: int
    parts: dict[str, int]
    dtypes: dict[str, int]
    files: tuple[FileReport, ...] = ()  # where several files make a model, or lie together
    beside: Mapping[str, Path] = field(default_factory=dict)  # of a released model's file: where the other parts are
    missing: tuple[str, ...] | None = None  # of a released model: what it takes besides, each with its source
    unread: int = 0  # tensors that are never executed

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.kind.description}",
            f"  family      {self._family()}",
            f"  tensors     {self.tensors}, {self.parameters:,} parameters, {self.bytes / 1e6:.1f} MB on disk",
            f"  types       {', '.join(f'{name} {count:,}' for name, count in self.dtypes.items())}",
        ]
        if self.files:
            lines += [f"  {_below(f.path, self.path)}: {f.kind.description}, {f.parameters:,}" for f in self.files]
        else:
            lines += [f"  {name:<18} {count:>14,}" for name, count in self.parts.items()]
        lines += [f"  {self.unread} tensors are never executed"] * (self.unread > 0)
        lines += [f"  {part:<13} {path}" for part, path in self.beside.items()]
        missing = () if self.missing is None else self.missing or ("nothing",)
        return "\n".join([*lines, *(f"  missing     {part}" for part in missing)])

    def _family(self) -> str:
        if self.kind.family is not None:
            return f"{self.kind.family}{f' ({self.config.name})' if self.config else ''}"
        users = _USERS.get(self.kind.part)
        return f"none of its own; for {users}" if users else "unknown"


# Parts that belong to no one family -> who takes them.
_USERS = {
    "vae": "emo, hallo, echomimic and v_express",
    "audio_encoder": "emo, hallo and v_express",
    "motion": "echomimic and v_express, or for training to start from",
    "face_locator": "echomimic and v_express",
    "backbone": "EMO Load ReferenceNet, or for training to start from",
}
_PUBLISHED = {"hallo": "Hallo", "echomimic": "EchoMimic", "v_express": "V-Express"}


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def inspect(path: str | Path) -> CheckpointReport:
    """Look at a checkpoint without building it. Raises EmoInputError for what is no checkpoint at all."""
    found = resolve(path)
    ours = saved_here(found)
    gathered = None if ours else gather(found)
    if not found.is_dir():
        files = [found]
    elif ours:
        files = model_files(found)
    else:
        files = sorted(set(gathered.files.values())) if gathered is not None else weight_files(found)
    if not files:
        allowed = "a file of weights, or a folder that holds some"
        raise EmoInputError("model", f"the folder {shown(found)}, which holds no weights", allowed)
    read = {file: read_header(file) for file in files}
    named = [item for tensors, _ in read.values() for item in tensors.items()]
    parts: Counter[str] = Counter()
    dtypes: Counter[str] = Counter()
    for name, tensor in named:
        parts[name.split(".")[0]] += tensor.numel()
        dtypes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    kinds = {file: recognise(tensors) for file, (tensors, _) in read.items()}
    config = _config_of({file: metadata for file, (_, metadata) in read.items()})
    return CheckpointReport(
        path=found,
        kind=_own_kind(dict(named), config) if ours else _kind(found, list(kinds.values()), gathered),
        config=config,
        tensors=len(named),
        parameters=sum(parts.values()),
        bytes=sum(file.stat().st_size for file in files),
        parts=dict(parts),
        dtypes=dict(dtypes),
        files=() if ours or len(files) < 2 else tuple(_file_report(f, kinds[f], read[f][0]) for f in files),
        beside={} if gathered is None else {p: f for p, f in gathered.files.items() if f not in read},
        missing=None if gathered is None else sources(gathered),
        unread=0 if gathered is None else _unread(gathered, set(files)),
    )


def _config_of(metadata: Mapping[Path, Mapping[str, str]]) -> EmoConfig | None:
    found = [stored_config(said[CONFIG_KEY], file) for file, said in metadata.items() if CONFIG_KEY in said]
    return found[-1] if found else None


def _own_kind(tensors: Mapping[str, Tensor], config: EmoConfig | None) -> Kind:
    """EMO's own form is one whatever the family, which the configuration tells."""
    kind = recognise(tensors)
    return kind if config is None else Kind(config.family, kind.part, kind.description)


def _file_report(path: Path, kind: Kind, tensors: Mapping[str, Tensor]) -> FileReport:
    return FileReport(path, kind, sum(tensor.numel() for tensor in tensors.values()))


def _kind(path: Path, kinds: Sequence[Kind], gathered: Gathered | None) -> Kind:
    """Of a file, of a folder that holds one, of a released model, of files that make none."""
    if gathered is not None and path.is_dir():
        return Kind(gathered.family, "model", f"the released files of {_PUBLISHED[gathered.family]}")
    if len(kinds) == 1:
        return kinds[0]
    return Kind(None, "unknown", f"{len(kinds)} files that make no model together")


def _unread(gathered: Gathered, files: Set[Path]) -> int:
    """How many tensors of these files of a released model no forward pass reaches."""
    of_part = {part: named(part, read_header(path)[0]) for part, path in gathered.files.items()}
    ours = {name: value for tensors in of_part.values() for name, value in tensors.items()}
    unread = drop_unread(ours, configured(ours, gathered))
    here = {name for part, tensors in of_part.items() if gathered.files[part] in files for name in tensors}
    return len(here.intersection(unread))
