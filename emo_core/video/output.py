"""The finished output: in, what is joined in the work folder; out, the file or folder of pictures it has become.

It appears in one piece, and in no other file's place: what has come to lie there since the job began keeps its name,
unless the job may replace it, and the video takes the next free one.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from ..errors import EmoInputError
from ..files import NAME_BYTES, exists, shown
from ..owned import MARK, claimable, free_path, mark_of, refuse_existing, refuse_impossible, write_mark
from .formats import video_format

log = logging.getLogger(__name__)

FRAMES = "frames"  # the kind of a folder of pictures that we made
SOUND = "audio.wav"
_PICTURE = re.compile(r"(\d{6,12})\.png", re.ASCII)
Copied = Callable[[Path, Path], Path]  # of a file and a folder: a copy of the file on the disk of the folder
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EACCES}


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raises EmoInputError for an output of an unknown kind or with a name that is too long, one that exists unless it
    may be replaced, a place at which nothing can be made, and a folder for pictures that is not ours."""
    check_name(path)
    if video_format(path).join != "png":
        refuse_existing(path, overwrite=overwrite)
        if not path.is_symlink():  # one to nothing is replaced as another file is
            refuse_impossible(path)
        return
    refuse_impossible(path)
    if claimable(path, FRAMES) and not overwrite and not _is_begun(path):
        found = f"the folder {shown(path)}, which holds an earlier video"
        remedy = "Choose another name, or --overwrite to replace its pictures."
        raise EmoInputError("output", found, "a new folder, or an empty one", remedy)


def check_name(path: Path) -> None:
    """Raises EmoInputError for a name that no file can have."""
    length = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if length > NAME_BYTES:
        found = f"a name of {length} bytes, {shown(path.name)}"
        raise EmoInputError("output", found, f"at most {NAME_BYTES} bytes", "Choose a shorter name.")
    if "\0" in str(path):
        raise EmoInputError("output", f"{str(path)!r}", "the name of a file")


def picture_name(index: int) -> str:
    return f"{index:06d}.png"


def picture_index(name: str) -> int | None:
    """Which picture of a video a file is by its name; None for every name that we do not give."""
    number = _PICTURE.fullmatch(name)
    return int(number[1]) if number and picture_name(int(number[1])) == name else None


def publish(joined: Path, path: Path, *, overwrite: bool, copied: Copied) -> Path:
    """Move a finished file to `path`, or to the next free name beside it; where it is now. `copied` makes a copy of a
    file on the disk of a folder: it is that which then takes the name, after the minutes that copying takes."""
    near = joined
    while True:
        free = path if overwrite else free_path(path)
        try:
            _move(near, free, overwrite)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno != errno.EXDEV or near != joined:
                raise
            near = copied(joined, path.parent)
            continue
        if free != path:
            log.warning("%s came to exist while this was made: written to %s", shown(path), shown(free))
        return free


def publish_pictures(joined: Path, folder: Path, *, frames: int, overwrite: bool, copied: Copied) -> Path:
    """Move a folder of finished pictures to `folder`; where they are now. An earlier video of ours there is replaced
    if it may be; with anything else in it the next free name is taken. Raises EmoInputError where somebody puts files
    of the same names there meanwhile."""
    new, ours = sorted(path.name for path in joined.iterdir()), _listed(folder)
    if not _usable(folder, new, ours if overwrite or _is_begun(folder) else set()):
        taken, folder, ours = folder, free_path(folder), set()
        log.warning("%s holds other files: written to %s", shown(taken), shown(folder))
    folder.mkdir(parents=True, exist_ok=True)
    write_mark(folder, FRAMES, frames=frames, sound=SOUND in new, begun=True, **_earlier(ours - set(new)))
    for number, name in enumerate(new):
        try:
            _put(joined / name, folder / name, name in ours, copied)
        except FileExistsError as error:
            write_mark(folder, FRAMES, frames=number, sound=False, begun=True)  # what is behind it is not ours
            found = f"{shown(folder / name)}, which came to exist while the pictures before it were put there"
            remedy = "Start the same again: nothing is lost, and the pictures go to a folder of the next free name."
            raise EmoInputError("output", found, "a folder that nobody else writes to", remedy) from error
    for stale in ours - {*new, MARK}:
        (folder / stale).unlink(missing_ok=True)
    write_mark(folder, FRAMES, frames=frames, sound=SOUND in new)
    joined.rmdir()
    return folder


def _listed(folder: Path) -> set[str]:
    """The files of an earlier video of ours in a folder, its mark included; none where it is not ours."""
    said = mark_of(folder, FRAMES)
    if said is None:
        return set()
    frames = max((said[name] for name in ("frames", "earlier") if isinstance(said.get(name), int)), default=0)
    sound = {SOUND} if said.get("sound") or said.get("earlier") else set()
    numbers = ((name, picture_index(name)) for name in os.listdir(folder))
    return {MARK, *(name for name, index in numbers if index is not None and index < frames), *sound}


def _is_begun(folder: Path) -> bool:
    """Whether a run of ours died as it put its pictures there: the next one may go on."""
    return bool((mark_of(folder, FRAMES) or {}).get("begun"))


def _earlier(stale: set[str]) -> dict[str, int]:
    """Until the pictures of a longer video are gone they are listed too, so that a run that is killed here leaves none
    that nobody knows of."""
    numbers = [index + 1 for name in stale if (index := picture_index(name)) is not None]
    return {"earlier": max(numbers)} if numbers else {}


def _usable(folder: Path, new: list[str], replaceable: set[str]) -> bool:
    """Whether files of these names can come into a folder without replacing any but the replaceable."""
    if not exists(folder) and not folder.is_symlink():
        return True
    if not folder.is_dir():
        return False
    there = set(os.listdir(folder))
    return not there or (bool(replaceable) and not there & set(new) - replaceable)


def _put(source: Path, target: Path, replace: bool, copied: Copied) -> None:
    """As `_move`, also to another file system."""
    try:
        _move(source, target, replace)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _move(copied(source, target.parent), target, replace)
        source.unlink()


def _move(source: Path, target: Path, replace: bool) -> None:
    """In one piece. Raises FileExistsError rather than replace what may not be: a link is the one way of the system's
    to be sure of it; a disk without links lets nobody else have a name that an empty file of ours has."""
    if replace:
        os.replace(source, target)
        return
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        target.open("xb").close()
        try:
            os.replace(source, target)
        except BaseException:
            target.unlink()
            raise
    else:
        source.unlink()
