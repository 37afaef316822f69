"""A job that can die: the work folder. In: the output path and the inputs. Out: where to go on.

`out.mp4.KEY.part/` holds one finished segment per clip, the state after the last one (its motion frames), and a journal
(see `journal`). KEY is made of all inputs: a job is found by what goes into it, whatever its output is called now, and
jobs of one output with other inputs lie beside each other. Everything is written under a temporary name, flushed, then
renamed; the journal comes last, so what it lists is whole. Only a folder with our journal is ever touched.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ..data import ClipState
from ..errors import EmoInputError
from ..files import fitting_name, shown
from ..fingerprint import fingerprint
from ..lock import LOCK_FILE, FolderLock, take_lock
from .disk import explain_disk_errors, write_atomically
from .formats import video_format
from .journal import (
    JOINED,
    JOURNAL,
    Journal,
    Segment,
    begin_journal,
    own_files,
    read_journal,
    remove_own,
    write_journal,
)
from .output import check_output
from .unfinished import SUFFIX, Unfinished, clear, find_unfinished, same_place, size_text

log = logging.getLogger(__name__)

Resume = Literal["same", "must", "never"]
LOCK_TRIES, LOCK_WAIT_S = 5, 0.05


class Job:
    """The work folder of one output. `state` is where `generate(resume=...)` goes on; None for a new job.

    `overwrite`: whether what lies at `path` by then may be replaced. `about`: what a person is told of the job.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        inputs: Mapping[str, str],
        *,
        overwrite: bool = False,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.path, self.folder, self.overwrite = path, folder, overwrite
        self.inputs, self.about = dict(inputs), dict(about or {})
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

    def joined(self) -> Path:
        """Where the finished output is made before it gets its name; what an earlier try left there is gone. Raises
        EmoInputError if somebody has put files of his own there."""
        joined = self.folder / JOINED
        try:
            if os.path.lexists(joined):
                remove_own(joined)
        except OSError as error:
            found = f"{shown(joined)}, which cannot be cleared ({(error.strerror or str(error)).lower()})"
            remedy = f"Move what is yours out of it and start the same again: {self.finished_clips} clips are kept."
            raise EmoInputError("output", found, "a work folder without other files", remedy) from error
        return joined

    def add(self, *, data: bytes, frames: int, state: ClipState) -> None:
        """Keep one more finished clip: `data` is its whole encoded segment, `state` what the next clip starts from."""
        with explain_disk_errors(self.path, self.finished_clips):
            segment = Segment(f"clip-{self.finished_clips:05d}", len(data), frames)
            write_atomically(self.folder / segment.file, data)
            state_file = f"state-{self.finished_clips:05d}.safetensors"
            write_atomically(self.folder / state_file, _pack_state(state))
            write_journal(self.folder, self._journal([*self.segments, segment], state_file))
            if self.segments:  # nothing refers to the state before any more
                (self.folder / f"state-{self.finished_clips - 1:05d}.safetensors").unlink(missing_ok=True)
        self.segments.append(segment)
        self.state = state

    def start_over(self) -> None:
        """Forget what is finished."""
        with explain_disk_errors(self.path, 0):
            old = list(own_files(self.folder, read_journal(self.folder) or Journal()))
            self.segments, self.state = [], None
            write_journal(self.folder, self._journal([], None))
            for path in old:
                if path.name not in (LOCK_FILE, JOURNAL, JOINED):
                    remove_own(path)

    def claim(self) -> None:
        """Keep every other process out of the work folder until `release`; EmoInputError if one is in it."""
        for _ in range(LOCK_TRIES):  # somebody who lists unfinished work has it for a moment
            with explain_disk_errors(self.path, 0):
                self._lock = take_lock(self.folder)
            if self._lock is not None:
                return
            time.sleep(LOCK_WAIT_S)
        raise _taken(self.path)

    def release(self) -> None:
        """Let the next job into the work folder."""
        if self._lock is not None:
            self._lock.release()

    def remove(self) -> None:
        """Release the work folder and remove it, with all that we put into it and nothing else."""
        self.release()
        clear(self.folder)

    def take_over(self, journal: Journal) -> None:
        """Go on with what a journal lists, or begin anew if something of it is missing or cut off. The journal then
        names this output, and the folder is told to be ours by it."""
        whole = all(_size(self.folder / segment.file) == segment.size for segment in journal.segments)
        state = _unpack_state(self.folder / journal.state) if journal.state else None
        if journal.damaged or not whole or (journal.segments and state is None):
            log.warning("the unfinished work in %s is damaged: beginning anew", shown(self.folder))
            self.start_over()
            return
        self.segments, self.state = list(journal.segments), state
        with explain_disk_errors(self.path, self.finished_clips):
            write_journal(self.folder, self._journal(self.segments, journal.state))
        if self.segments:
            log.info("going on after clip %d (%d frames are done)", self.finished_clips, self.finished_frames)

    def begin(self) -> None:
        """Make the work folder. Raises EmoInputError if a folder of that name is there that is not ours."""
        with explain_disk_errors(self.path, 0):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(13, "no permission to write", str(self.folder))
            if read_journal(self.folder) is None:
                if not _is_empty(self.folder) or self.folder.is_symlink():
                    found = f"{shown(self.folder)}, which would be the work folder and holds files that are not ours"
                    raise EmoInputError("output", found, "a name that is free", "Move it away, or choose another name.")
                begin_journal(self.folder, self._journal([], None))

    def _journal(self, segments: list[Segment], state_file: str | None) -> Journal:
        output = _seen_from(self.path, self.folder.parent)
        return Journal(output, self.inputs, tuple(segments), state_file, self.about)


def _is_empty(folder: Path) -> bool:
    """Whether nothing is in a folder but, at most, the lock of a job that died as it began."""
    return all(path.name == LOCK_FILE and path.stat().st_size == 0 for path in folder.iterdir())


def open_job(
    path: str | Path,
    inputs: Mapping[str, object],
    *,
    resume: Resume = "same",
    overwrite: bool = False,
    work: Path | None = None,
    about: Mapping[str, str] | None = None,
) -> Job:
    """Open or begin the job that writes `path` from `inputs` (names to files, tensors, numbers, records ...).

    It is this process's alone until `write_video` ends or the job is released: a second one is refused, and so is
    another job that would write the same output. `work` is the folder that work folders lie in (where `path` lies), and
    in which unfinished work from the same inputs is looked for. `resume`: "same" goes on with it, or begins; "must"
    raises EmoInputError where unfinished work of this output had other inputs; "never" begins anew, and clears the
    unfinished work of this output and of these inputs. Without it, nothing unfinished is ever cleared. Raises
    EmoInputError for an output that exists unless `overwrite`, and for a place nobody can write to.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    work = path.parent if work is None else work
    fmt = video_format(path)
    segment = [fmt.segment_container, fmt.video_codec, fmt.pixel_format, fmt.options]
    hashes = {name: fingerprint(value) for name, value in {**inputs, "format": segment}.items()}
    for _ in range(LOCK_TRIES):
        job = _try_to_open(path, hashes, resume=resume, overwrite=overwrite, work=work, about=about)
        if job is not None:
            return job
        time.sleep(LOCK_WAIT_S * (0.5 + random.random()))  # not as long as the other that waits
    raise _taken(path)


def _try_to_open(
    path: Path,
    hashes: Mapping[str, str],
    *,
    resume: Resume,
    overwrite: bool,
    work: Path,
    about: Mapping[str, str] | None,
) -> Job | None:
    """The job, or None while another one is at this output. Both may begin in the same moment: each names its output in
    its journal and then looks for the other, so that at least the one that looks last sees it."""
    others = find_unfinished(work)
    mine, of_output = _of_inputs(others, hashes, path), [o for o in others if same_place(o.output, path)]
    if any(other.running for other in of_output):
        return None
    if resume == "must" and mine is None and of_output:
        raise _other_inputs(path, of_output[-1], hashes)
    if resume == "never":
        for other in {o.folder: o for o in [*of_output, *([] if mine is None else [mine])]}.values():
            clear(other.folder)
        others, mine = find_unfinished(work), None
    key = hashlib.sha256(repr(sorted(hashes.items())).encode()).hexdigest()[:12]
    folder = work / fitting_name(path.name, f".{key}{SUFFIX}") if mine is None else mine.folder
    job = Job(path, folder, hashes, overwrite=overwrite, about=about)
    job.begin()
    job.claim()
    try:
        journal = read_journal(job.folder) or Journal(damaged=True)
        if mine is None and not journal.damaged and not journal.segments:
            job.start_over()
        else:
            job.take_over(journal)
        rivals = [o for o in find_unfinished(work) if o.running and o.folder != folder and same_place(o.output, path)]
    except BaseException:
        job.release()  # whoever keeps the error keeps the job, and would keep everybody out
        raise
    if rivals:
        job.release() if job.finished_clips else job.remove()
        return None
    _tell([other for other in others if other.folder != folder], path, hashes)
    return job


def _of_inputs(others: list[Unfinished], hashes: Mapping[str, str], path: Path) -> Unfinished | None:
    """The unfinished work with these inputs: that of this output if there is one, else the furthest that nobody is at.
    A folder of the first version has no format among its inputs and is never meant."""
    same = [o for o in others if not o.journal.damaged and dict(o.journal.inputs) == dict(hashes)]
    named = [o for o in same if same_place(o.output, path)]
    free = sorted((o for o in same if not o.running), key=lambda o: o.journal.frames)
    return named[0] if named else free[-1] if free else None


def _other_inputs(path: Path, other: Unfinished, hashes: Mapping[str, str]) -> EmoInputError:
    changed = _changed(other, hashes)
    allowed = f"the inputs {shown(path)!r} was begun with"
    remedy = "Use those; or leave out --resume to keep that work and begin another, or --no-resume to clear it."
    return EmoInputError("resume", f"other {', '.join(changed)}", allowed, remedy)


def _changed(other: Unfinished, hashes: Mapping[str, str]) -> list[str]:
    before = other.journal.inputs
    return sorted(name for name in {*hashes, *before} if hashes.get(name) != before.get(name))


def _tell(others: list[Unfinished], path: Path, hashes: Mapping[str, str]) -> None:
    """What is kept of other unfinished videos, so that nobody's disk fills up without a word."""
    for other in others:
        if other.journal.segments and not other.running and same_place(other.output, path):
            changed = ", ".join(_changed(other, hashes)) or "inputs"
            kept = f"{other.journal.frames} finished frames of that are kept in {shown(other.folder)}"
            log.warning("%s was begun before with other %s: %s", shown(path), changed, kept)
    idle = [other for other in others if not other.running and not same_place(other.output, path)]
    if idle:
        where, size = shown(idle[0].folder.parent), size_text(sum(other.size for other in idle))
        told = "animate --unfinished lists them, --clear-unfinished removes them"
        log.info("other unfinished videos in %s: %d, of %s (%s)", where, len(idle), size, told)


def _taken(path: Path) -> EmoInputError:
    found, remedy = f"{shown(path)!r}, which another job is writing", "Wait for it, or choose another name."
    return EmoInputError("output", found, "a file that nobody else writes", remedy)


def _seen_from(path: Path, folder: Path) -> str:
    """`path` below `folder` with forward slashes, or as it is."""
    try:
        return path.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError:
        return str(path.absolute())


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
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
