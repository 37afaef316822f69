"""Clips to video files that survive a kill (see `writer`); `open_job` tells where an unfinished one goes on."""

from .job import Job, open_job
from .output import check_output
from .unfinished import Unfinished, clear_unfinished, find_unfinished
from .writer import UnfinishedVideo, WrittenVideo, write_video

__all__ = [
    "Job",
    "Unfinished",
    "UnfinishedVideo",
    "WrittenVideo",
    "check_output",
    "clear_unfinished",
    "find_unfinished",
    "open_job",
    "write_video",
]
