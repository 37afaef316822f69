"""Several training processes on one machine, one thread each: on a CPU two of them beat one process with two threads.

`accelerate launch -m emo_core train ...` does the same for many machines; under it, nothing is started here.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import torch


def launch(task: Callable[..., Any], arguments: tuple[Any, ...], *, processes: int) -> None:
    """Run `task(*arguments)` in `processes` processes that find each other through accelerate's environment."""
    if processes <= 1 or "RANK" in os.environ:
        task(*arguments)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_worker, (processes, port, task, arguments), nprocs=processes)


def _worker(rank: int, processes: int, port: int, task: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
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
    task(*arguments)
