"""The weights file that a step leaves, and the checkpoint that it belongs to.

In: the file, and what its step's checkpoint remembers of it. Out: leave to replace it, or the sentence why not. Other
steps write the same file (`vae` and `vae --decoder-only` and `restore`), each from a state of its own: one that goes on
where it was stopped would undo what another has done since. So a checkpoint remembers the digests of the file that lay
there when its run began, and of the one that the run left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from torch import nn

from ..errors import EmoInputError
from ..files import exists, readable_file, shown
from ..whole import written_whole
from .checkpoint import load_counters, save_counters


def digest(content: bytes) -> str:
    """What tells one content of a file from another."""
    return hashlib.sha256(content).hexdigest()


def digests_of(path: Path) -> tuple[str, ...]:
    """The digest of a file; none where there is no file."""
    if not exists(path):
        return ()
    readable_file(path, name="root", allowed="weights", again="Move what lies there.")
    return (digest(path.read_bytes()),)


def refuse_undoing(path: Path, known: Collection[str] | None, checkpoint: Path, *, overwrite: bool) -> None:
    """Raises EmoInputError where `path` is none of the files that a checkpoint knows, and going on from there would
    replace it. `known` is None for a checkpoint of before they were kept, which goes on."""
    if known is not None and not overwrite and not set(digests_of(path)) <= set(known):
        found = f"{shown(path)}, which something else wrote since {shown(checkpoint)} was saved"
        remedy = (
            f"Move {shown(checkpoint)} aside and --start-from {shown(path.parent)} to begin from what lies there, "
            "or --overwrite to go on from the checkpoint and replace it."
        )
        raise EmoInputError("root", found, "the weights that the checkpoint belongs to", remedy)


def write_result(module: nn.Module, path: Path, checkpoint: Path) -> None:
    """A module's tensors as `path`, which the checkpoint then knows."""
    from safetensors.torch import save

    content = save({name: value.detach().contiguous() for name, value in module.state_dict().items()})
    counters = load_counters(checkpoint)
    counters.known = (*(counters.known or ()), digest(content))
    save_counters(counters, checkpoint)  # first: a run that is killed in between goes on
    put(content, path)


def put(content: bytes, path: Path) -> None:
    """`content` as the file `path`, which stays as it is where it holds that already."""
    if digests_of(path) != (digest(content),):
        with written_whole(path) as part:
            part.write_bytes(content)
