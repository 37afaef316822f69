"""Several training processes on one machine, one thread each: on a CPU two of them beat one process with two threads.

`accelerate launch -m emo_core train ...` does the same for many machines; under it, nothing is started here.
"""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from ..errors import EmoInputError
from ..whole import written_whole


def launch(task: Callable[..., Any], arguments: tuple[Any, ...], *, processes: int) -> None:
    """Run `task(*arguments)` in `processes` processes that find each other through accelerate's environment. An input
    error of theirs is raised here as it is."""
    if processes <= 1 or "RANK" in os.environ:
        task(*arguments)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "error"
        try:
            torch.multiprocessing.spawn(_worker, (processes, port, task, arguments, said), nprocs=processes)
        except torch.multiprocessing.ProcessRaisedException as failed:
            if not said.exists():
                raise
            error: EmoInputError = pickle.loads(said.read_bytes())  # noqa: S301 our own worker's, in our own folder
            raise error from failed


def _worker(
    rank: int, processes: int, port: int, task: Callable[..., Any], arguments: tuple[Any, ...], said: Path
) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(processes),
        LOCAL_WORLD_SIZE=str(processes),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        ACCELERATE_USE_CPU="false" if torch.cuda.is_available() else "true",
    )
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        task(*arguments)
    except EmoInputError as error:  # torch hands only a traceback's text to the process that started this one
        with written_whole(said) as part:
            part.write_bytes(pickle.dumps(error))
        raise


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, killed maybe: nobody would know of it any more, and it
    would save over what a new run saves. A checkpoint is whole at any moment."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def is_first() -> bool:
    """Whether this is the only process, or the first of those that `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"
