"""Where a run stands, told on a stream: tqdm's bar on a terminal, a line for each clip elsewhere. In: `Progress`."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from .data import Progress


class ProgressLine:
    """`update` for `generate(on_progress=...)`, `say` for lines that stay, `end` when there is no more to come."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._draws = stream.isatty()
        self._bar: Any = None
        self._first: tuple[float, int] | None = None  # time and steps done when the first report came
        self._clip = -1

    def update(self, progress: Progress) -> None:
        """Every step of every clip; a run that goes on begins where it was."""
        done, total = progress.clip * progress.steps + progress.step, progress.clips * progress.steps
        clip = f"clip {progress.clip + 1} of {progress.clips}"
        if self._draws:
            self._draw(clip, done, total)
        elif progress.clip != self._clip:
            now = time.monotonic()
            self._first = self._first or (now, done)
            text = f"{clip}, step {progress.step} of {progress.steps}, {100 * done // total} %"
            if done > self._first[1]:
                left = round((now - self._first[0]) / (done - self._first[1]) * (total - done))
                text += f", {left // 60}:{left % 60:02} left"
            print(text, file=self.stream, flush=True)
        self._clip = progress.clip

    def _draw(self, clip: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None:
            width = {"dynamic_ncols": True} if _columns(self.stream) else {"ncols": 80}
            self._bar = tqdm(total=total, initial=done - 1, unit="step", file=self.stream, **width)
        if self._bar.total != total:
            self._bar.total = total
        self._bar.set_description_str(clip, refresh=False)
        self._bar.update(done - self._bar.n)

    def say(self, text: str) -> None:
        """A line that stays, above the bar."""
        if self._bar is None:
            print(text, file=self.stream, flush=True)
        else:
            self._bar.write(text, file=self.stream)

    def end(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _columns(stream: TextIO) -> int:
    """How wide a terminal says it is: some, of consoles within other programs, say 0."""
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0


class LineHandler(logging.Handler):
    """Log messages between updates of the progress line."""

    def __init__(self, line: ProgressLine) -> None:
        super().__init__()
        self.line = line

    def emit(self, record: logging.LogRecord) -> None:
        self.line.say(self.format(record))
