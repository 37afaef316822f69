"""Clips to video files that survive a kill (see `writer`); `open_job` tells where an unfinished one goes on."""

from .job import Job, find_job, open_job
from .writer import UnfinishedVideo, WrittenVideo, write_video

__all__ = ["Job", "UnfinishedVideo", "WrittenVideo", "find_job", "open_job", "write_video"]
