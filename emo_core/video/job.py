"""A job that can die: the work folder beside the output. In: the output path and the inputs. Out: where to go on.

`out.mp4.part/` holds one finished segment per clip, the state after the last one (its motion frames), `journal.json`.
Everything is written under a temporary name, flushed, then renamed; the journal comes last, so what it lists is whole.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..data import ClipState
from ..errors import EmoInputError
from .disk import explain_disk_errors, write_atomically
from .fingerprint import fingerprint
from .lock import LOCK_FILE, FolderLock, is_locked, take_lock

log = logging.getLogger(__name__)

JOURNAL = "journal.json"
VERSION = 1
Resume = Literal["same", "must", "never"]


@dataclass(frozen=True)
class Segment:
    """One finished clip: its file in the work folder, its length in bytes and in frames."""

    file: str
    size: int
    frames: int


class Job:
    """The work folder of one output. `state` is where `generate(resume=...)` goes on; None for a new job."""

    def __init__(self, path: Path, inputs: Mapping[str, str]) -> None:
        self.path = path
        self.folder = path.with_name(path.name + ".part")
        self.inputs = dict(inputs)
        self.segments: list[Segment] = []
        self.state: ClipState | None = None
        self._lock: FolderLock | None = None

    @property
    def finished_clips(self) -> int:
        return len(self.segments)

    @property
    def finished_frames(self) -> int:
        return sum(segment.frames for segment in self.segments)

    def segment_paths(self) -> list[Path]:
        return [self.folder / segment.file for segment in self.segments]

    def add(self, *, data: bytes, frames: int, state: ClipState) -> None:
        """Keep one more finished clip: `data` is its whole encoded segment, `state` what the next clip starts from."""
        with explain_disk_errors(self.path, self.finished_clips):
            segment = Segment(f"clip-{self.finished_clips:05d}", len(data), frames)
            write_atomically(self.folder / segment.file, data)
            state_file = f"state-{self.finished_clips:05d}.safetensors"
            write_atomically(self.folder / state_file, _pack_state(state))
            self._write_journal([*self.segments, segment], state_file)
            if self.segments:  # nothing refers to the state before any more
                (self.folder / f"state-{self.finished_clips - 1:05d}.safetensors").unlink(missing_ok=True)
        self.segments.append(segment)
        self.state = state

    def start_over(self) -> None:
        """Forget everything and begin with an empty work folder."""
        with explain_disk_errors(self.path, 0):
            for old in self.folder.iterdir():
                if old.is_dir():
                    shutil.rmtree(old)
                elif old.name != LOCK_FILE:
                    old.unlink()
            self.segments, self.state = [], None
            self._write_journal([], None)

    def claim(self) -> None:
        """Keep every other process out of the work folder until `release`; EmoInputError if one is in it."""
        with explain_disk_errors(self.path, 0):
            self._lock = take_lock(self.folder)
        if self._lock is None:
            found, remedy = f"{str(self.path)!r}, which another job is writing", "Wait for it, or choose another name."
            raise EmoInputError("output", found, "a file that nobody else writes", remedy)

    def release(self) -> None:
        """Let the next job into the work folder."""
        if self._lock is not None:
            self._lock.release()

    def remove(self) -> None:
        self.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_journal(self, segments: list[Segment], state_file: str | None) -> None:
        journal = {
            "version": VERSION,
            "inputs": self.inputs,
            "segments": [vars(segment) for segment in segments],
            "state": state_file,
        }
        write_atomically(self.folder / JOURNAL, json.dumps(journal, indent=1).encode())

    def _read(self, journal: dict[str, Any]) -> bool:
        """Take over what the journal lists. False if something in it is missing or cut off."""
        segments = [Segment(**entry) for entry in journal["segments"]]
        whole = all(_size(self.folder / segment.file) == segment.size for segment in segments)
        state = _unpack_state(self.folder / journal["state"]) if segments else None
        if not whole or (segments and state is None):
            return False
        self.segments, self.state = segments, state
        return True


def open_job(path: str | Path, inputs: Mapping[str, object], *, resume: Resume = "same") -> Job:
    """Open or begin the job that writes `path` from `inputs` (names to files, tensors, numbers, records ...).

    It is this process's alone until `write_video` ends or the job is released: a second one is refused.
    `resume`: "same" goes on with an unfinished job if its inputs are the same and begins anew otherwise; "must" raises
    EmoInputError where inputs differ; "never" always begins anew. Raises EmoInputError for a place nobody can write to.
    """
    job = Job(Path(path), {name: fingerprint(value) for name, value in inputs.items()})
    _check_writable(job)
    job.claim()
    journal = None if resume == "never" else _read_journal(job.folder / JOURNAL)
    if journal is None:
        job.start_over()
        return job
    changed = sorted(k for k in {*job.inputs, *journal["inputs"]} if job.inputs.get(k) != journal["inputs"].get(k))
    if changed and resume == "must":
        allowed = f"the inputs {str(job.path)!r} was begun with"
        raise EmoInputError(
            "resume", f"other {', '.join(changed)}", allowed, "Use those, or --no-resume to begin anew."
        )
    if changed:
        log.warning("%s was begun with other %s: beginning anew", job.path, ", ".join(changed))
        job.start_over()
    elif not job._read(journal):
        log.warning("the unfinished work in %s is damaged: beginning anew", job.folder)
        job.start_over()
    elif job.segments:
        log.info("going on after clip %d (%d frames are done)", job.finished_clips, job.finished_frames)
    return job


def find_job(folder: str | Path, pattern: str, inputs: Mapping[str, object]) -> Path | None:
    """The output in `folder` whose unfinished job was begun from the same inputs, if there is one.

    For programs that number their outputs: a job that died goes on under the name it had. `pattern` is the output's
    name as a glob pattern.
    """
    wanted = {name: fingerprint(value) for name, value in inputs.items()}
    for work in sorted(Path(folder).glob(f"{pattern}.part")):
        if is_locked(work):
            continue
        journal = _read_journal(work / JOURNAL)
        if journal is not None and journal["inputs"] == wanted and journal["segments"]:
            return work.with_name(work.name.removesuffix(".part"))
    return None


def _check_writable(job: Job) -> None:
    if job.path.is_dir() and job.path.suffix:
        raise EmoInputError("output", f"a folder named {str(job.path)!r}", "the name of a file")
    with explain_disk_errors(job.path, 0):
        job.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(job.folder, os.W_OK):
            raise PermissionError(13, "no permission to write", str(job.folder))


def _read_journal(path: Path) -> dict[str, Any] | None:
    try:
        journal: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("cannot read %s (%s): beginning anew", path, error)
        return None
    return journal if isinstance(journal, dict) and journal.get("version") == VERSION else None


def _pack_state(state: ClipState) -> bytes:
    from safetensors.torch import save

    latents = state.motion_latents
    tensors = {} if latents is None else {"motion_latents": latents.detach().cpu().contiguous()}
    return save(tensors, metadata={"next_index": str(state.next_index)})


def _unpack_state(path: Path) -> ClipState | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            latents = file.get_tensor("motion_latents") if "motion_latents" in file.keys() else None  # noqa: SIM118
            return ClipState(int(file.metadata()["next_index"]), latents)
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
