"""A sound track through FFmpeg: in, a part of a file; out, its sound in a `Recording`, each piece at its time.

Where the file's clock says that nothing was recorded, where a packet cannot be decoded and where bytes were lost there
is silence as long as what is missing, so that what follows stays where it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EmoInputError
from ..files import shown
from .adts import lost_bytes
from .avi import packets_of
from .frames import Samples, Unpacker
from .part import Part, PartFile
from .recording import Recording

# Formats whose times are a clock's. Elsewhere (mp3, adts, avi ...) FFmpeg counts what it read.
_CLOCKED = {"mov", "mp4", "matroska", "webm", "mpegts", "mpeg", "flv", "asf", "ogg", "nut", "mxf", "flac"}
_FROM_ZERO = {"mov", "mp4", "matroska", "webm"}  # and zero is where the file begins, even if nothing is there yet
_BYTES_TELL = {"mp3", "aac", "ac3", "eac3"}  # frames one behind the other: what lies between them was one
_MERGED = {"mp3", "ac3", "eac3"}  # of these, a packet without a header behind it reaches to the next one
_PAUSES = {"mov", "mp4", "matroska", "webm", "mpegts", "mpeg", "flv", "asf", "nut", "mxf"}  # may not record silence
_LENGTHS = {"mov", "mp4", "matroska", "webm", "flac", "ogg", "asf"}  # say how long they are, and do not guess it
_OF_EACH = {"mov", "mp4", "ogg", "flac"}  # and of each track by itself
_SHORTER_S = 0.5  # than that is worth telling
_PAGE_S = 0.1  # a page of ogg that is missing is longer; what is shorter, a codec leaves out itself
_EXACT = ("pcm_f", "wavpack")  # codecs whose samples may be any number
_LOUDEST = 4.0  # what a damaged packet of the others is decoded to is sometimes far above full scale
TOLERANCE_S = 0.015  # of times that are rounded, or guessed by a codec
_BACK_S = 0.1  # a clock that goes back by more was set anew
LONGEST_GAP_S = 600.0  # one that jumps further ahead is wrong
_MOST_SILENCE = 1 << 27  # samples of all channels together that clocks are believed for
_AT_ONCE = 1 << 16  # samples of silence
_READ_ERRORS = 20  # so often reading goes on behind an error


@dataclass
class Findings:
    """What was wrong with a file: places as (second, seconds), and sentences."""

    damaged: list[tuple[float, float]] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    silence: int = 0  # samples

    def add_damage(self, at_s: float, seconds: float) -> None:
        """A place, or more of the last one."""
        if self.damaged and abs(sum(self.damaged[-1]) - at_s) < 1e-3:
            at_s, seconds = self.damaged[-1][0], self.damaged.pop()[1] + seconds
        self.damaged.append((at_s, seconds))


def decode_part(path: Path, part: Part, into: Recording, findings: Findings, *, name: str, first: bool) -> None:
    """Put the part's sound into the recording: that of the track that players choose, or, where that cannot be decoded,
    of the next.

    Raises EmoInputError for a part without any; what libraries say of a damaged one comes through.
    """
    before, tried, count = into.seconds, 0, 1
    while into.seconds == before and tried < count:
        with PartFile(path, part) as file, _opened(file) as container:
            tracks = as_players_choose(container.streams.audio)
            known = [stream for stream in tracks if stream.codec_context is not None]
            if not known:
                raise _without_sound(path, name, tracks=len(tracks))
            stream, said = known[tried], len(findings.notes)
            lost = lost_bytes(path, part) if container.format.name == "aac" else []
            indexed = packets_of(path, part, stream.index) if container.format.name == "avi" else []
            _Reader(container, stream, into, findings, first=first, lost=lost, indexed=indexed).read()
            tried, count = tried + 1, len(known)
            if first and len(tracks) > 1 and (into.seconds > before or tried == count):
                findings.notes.insert(said, _which(stream, tracks))


def as_players_choose(tracks: Iterable[Any]) -> list[Any]:
    """Tracks in the order in which they are tried: the default before others, such for the deaf and the blind last, as
    FFmpeg's `av_find_best_stream` has it; of equals the first."""
    from av.stream import Disposition

    special = Disposition.hearing_impaired | Disposition.visual_impaired
    return sorted(tracks, key=lambda t: bool(t.disposition & special) - bool(t.disposition & Disposition.default))


def _which(heard: Any, tracks: list[Any]) -> str:
    """The note that says which of several tracks is heard, and why it is not the first."""
    numbers = {track.index: number for number, track in enumerate(sorted(tracks, key=lambda t: t.index), 1)}
    failed = [str(numbers[track.index]) for track in tracks[: tracks.index(heard)]]
    number, why = numbers[heard.index], ""
    if failed:
        why = f"; number {' and '.join(failed)} cannot be decoded"
    elif number > 1:
        why = ", the one that players choose"
    return f"of its {len(tracks)} sound tracks number {number} is heard{why}"


def raise_if_ours(error: Exception) -> None:
    """Lets through what is no library's word on a damaged file: that this machine's memory is full. (FFmpeg says so of
    a file that asks for more than it allows, too.)"""
    from av.error import FFmpegError

    if isinstance(error, MemoryError) and not isinstance(error, FFmpegError):
        raise error


def _opened(file: PartFile) -> Any:
    import av

    options = {
        "protocol_whitelist": "pipe",  # a playlist fetches nothing
        "max_size": "262144",  # wav: larger packets
    }
    return av.open(file, metadata_errors="replace", options=options)


def _without_sound(path: Path, name: str, *, tracks: int) -> EmoInputError:
    if not tracks:
        found, remedy = f"no sound track in {shown(path.name)}", "Choose another file."
        return EmoInputError(name, found, "a file with sound", remedy)
    found = f"a sound track in {shown(path.name)} of a kind that FFmpeg does not know"
    return EmoInputError(name, found, "wav, flac, mp3, ogg, m4a or a video", "Convert it.")


@dataclass
class _Page:
    """The frames of the page of an ogg that is being read, which wait until the next one begins."""

    begins: int | None = None  # in the file
    frames: list[Any] = field(default_factory=list)

    def turned(self, position: int | None, frames: list[Any]) -> list[Any]:
        """`frames` of the page at `position` are kept; gives those of the page before, if that is another."""
        done: list[Any] = []
        if position is not None and position != self.begins:
            self.begins, done, self.frames = position, self.frames, []
        self.frames += frames
        return done


def _clock_time(text: str) -> float | None:
    """HH:MM:SS.sss in seconds; None where that is none."""
    try:
        hours, minutes, seconds = (float(number) for number in text.split(":"))
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds


class _Reader:
    """One pass over the packets of one track."""

    def __init__(
        self,
        container: Any,
        stream: Any,
        into: Recording,
        findings: Findings,
        *,
        first: bool,
        lost: list[tuple[int, int]],
        indexed: list[tuple[int, int]],
    ) -> None:
        self._container, self._stream, self._into, self._findings = container, stream, into, findings
        names = set(container.format.name.split(","))
        self._clocked, self._bytes_tell = bool(names & _CLOCKED), bool(names & _BYTES_TELL)
        self._merged, self._pauses = bool(names & _MERGED), bool(names & _PAUSES)
        self._lengths, self._of_each = bool(names & _LENGTHS), bool(names & _OF_EACH)
        self._page = _Page() if "ogg" in names else None
        self._usual = 0.0, 1  # seconds and bytes of the last packet of an index
        self._by_bytes = stream.codec_context.name.startswith("pcm_")
        self._exact = stream.codec_context.name.startswith(_EXACT)
        self._begins_s = into.seconds  # where this part begins in the recording, and ...
        self._origin_s = self._beginning(names) if first and self._clocked else None  # ... on the file's clock
        self._kind: tuple[int, int] | None = None  # channels and rate of the last sound
        self._damaged = False  # something, since the last sound
        self._lost_s = 0.0  # by bytes that are in no packet, since then
        self._unpacker = Unpacker()
        self._usual_size = 0.0  # of a packet, in bytes
        self._indexed = deque(indexed)  # where packets should lie that have not come yet
        self._lost = lost  # where bytes are in no packet, as far as that is known before

    def read(self) -> None:
        end_s = None
        context = self._stream.codec_context
        context.thread_count = 1  # errors belong to the packet that has them
        if context.name == "flac":
            context.options = {"err_detect": "crccheck+explode"}  # a damaged frame is otherwise noise
        for packet in self._packets():
            if packet is None:
                self._damaged = True
                continue
            if packet.pts is not None and packet.duration and packet.time_base:
                end_s = float((packet.pts + packet.duration) * packet.time_base)
            frames = self._frames(packet)
            for frame in frames if self._page is None else self._page.turned(packet.pos, frames):
                self._place(frame)
            if self._into.complete:
                return
        if self._indexed and self._kind is not None:
            self._damaged = True
            self._fill(self._length_of(size for _, size in self._indexed))
        ends_s = self._says_end()
        if self._page is not None:
            self._place_last(self._page.frames, ends_s)
        if self._damaged and end_s is not None and self._origin_s is not None and self._kind is not None:
            missing_s = end_s - self._origin_s + self._begins_s - self._into.seconds
            if missing_s > TOLERANCE_S:
                self._fill(missing_s)
        self._tell_end(ends_s)

    def _place_last(self, frames: list[Any], ends_s: float | None) -> None:
        """The frames of an ogg's last page. Its packets follow on those before, by FFmpeg's clock, whatever was lost in
        between; when it ends, it says."""
        if frames and ends_s is not None and self._kind is not None:
            rest_s = sum(frame.samples / frame.sample_rate for frame in frames)
            missing_s = ends_s - (self._into.seconds - self._begins_s) - rest_s
            if missing_s > _PAGE_S:
                self._fill(missing_s)
        for frame in frames:
            self._place(frame)

    def _says_end(self) -> float | None:
        """When the file says that the track ends, in seconds of this part."""
        stream, container, said_s = self._stream, self._container, None
        alone = self._of_each or not container.streams.video
        if self._lengths and alone and stream.duration and stream.time_base:
            said_s = float((stream.duration + (stream.start_time or 0)) * stream.time_base)
        elif self._lengths and stream.metadata.get("DURATION"):
            said_s = _clock_time(stream.metadata["DURATION"])  # of matroska, when the track ends
        elif self._lengths and alone and container.duration:
            said_s = container.duration / 1e6  # of the clock, which begins before a sound that is late
        return None if said_s is None or self._origin_s is None else said_s - self._origin_s

    def _tell_end(self, said_s: float | None) -> None:
        """A note if the file says that it goes on."""
        there_s = self._into.seconds - self._begins_s
        if said_s is not None and there_s < said_s - _SHORTER_S:
            self._findings.notes.append(f"it ends after {there_s:.2f} of {said_s:.2f} s")

    def _packets(self) -> Iterator[Any]:
        """The track's packets; None where reading failed and goes on behind it."""
        expected, passed = None, 0
        for _ in range(_READ_ERRORS):
            try:
                for packet in self._container.demux(self._stream):
                    if self._bytes_tell and packet.size and packet.pos is not None and packet.duration:
                        count = 0 if expected is None else max(0, packet.pos - expected)
                        while self._lost and packet.pos + passed >= self._lost[0][0]:
                            count += self._lost[0][1]
                            passed += self._lost.pop(0)[1]
                        if count:
                            lost = max(1, round(count / self._usual_size)) if self._usual_size else 0
                            self._lost_s += lost * float(packet.duration * packet.time_base)
                        expected = packet.pos + packet.size
                        usual = self._usual_size or packet.size
                        self._usual_size = usual + 0.02 * (min(packet.size, 2 * usual) - usual)
                    if self._indexed and packet.pos is not None and packet.duration:
                        self._lost_s += self._missed(packet)
                    yield packet
                return
            except Exception as error:  # FFmpeg's errors are many classes, PyAV adds ValueError and others
                raise_if_ours(error)
                yield None

    def _missed(self, packet: Any) -> float:
        """Seconds of the packets that the index has before this one, and that did not come."""
        if not self._usual[0] and all(packet.pos != place for place, _ in self._indexed):
            self._indexed.clear()  # it counts from somewhere else
            return 0.0
        self._usual = float(packet.duration * packet.time_base), packet.size
        missed = []
        while self._indexed and self._indexed[0][0] <= packet.pos:
            place, size = self._indexed.popleft()
            if place < packet.pos:
                missed.append(size)
        return self._length_of(missed)

    def _length_of(self, sizes: Iterable[int]) -> float:
        """Seconds of packets of so many bytes: each as long as the last that came, or, of plain samples, as its bytes
        say."""
        seconds, usual = self._usual
        return sum(seconds * (size / usual if self._by_bytes else 1) for size in sizes)

    def _frames(self, packet: Any) -> list[Any]:
        """What a packet is decoded to; nothing if it is damaged."""
        try:
            return list(packet.decode())
        except Exception as error:  # as above
            raise_if_ours(error)
            self._damaged = True
            if self._merged and packet.duration and packet.size > 1.5 * self._usual_size:
                lost = max(0, round(packet.size / self._usual_size) - 1)  # frames whose headers are gone as well
                self._lost_s += lost * float(packet.duration * packet.time_base)
            return []

    def _beginning(self, names: set[str]) -> float | None:
        """When the first picture is shown, if there are pictures that move; else where the file's clock begins; None if
        that is when the first sound is heard."""
        for stream in as_players_choose(self._container.streams.video):
            still = int(getattr(stream, "disposition", 0) or 0) & 0x400  # FFmpeg's AV_DISPOSITION_ATTACHED_PIC
            if not still and stream.start_time is not None and stream.time_base is not None:
                return float(stream.start_time * stream.time_base)
        return 0.0 if names & _FROM_ZERO else None

    def _place(self, frame: Any) -> None:
        """Put a frame's sound behind what is there, after as much silence as is missing."""
        samples, rate = self._unpacker.samples_of(frame), frame.sample_rate
        if not samples.shape[1] or not rate:
            return
        self._kind = (samples.shape[0], rate)
        is_noise = not self._exact and not np.abs(samples).max() <= _LOUDEST
        self._damaged |= is_noise
        missing_s = 0.0
        if frame.pts is not None and frame.time_base is not None:
            time_s = float(frame.pts * frame.time_base)
            if self._origin_s is None:
                self._origin_s = time_s + self._begins_s - self._into.seconds
            if self._clocked or self._damaged:
                missing_s = time_s - self._origin_s + self._begins_s - self._into.seconds
            if self._clocked and missing_s < -TOLERANCE_S:
                samples = self._ahead(samples, rate, time_s=time_s, missing_s=missing_s)
            self._origin_s -= self._lost_s
        missing_s += self._lost_s
        if missing_s > TOLERANCE_S and not self._fill(missing_s):
            self._origin_s = None
        if is_noise:
            samples = np.zeros_like(samples)
            self._findings.add_damage(self._into.seconds, samples.shape[1] / rate)
        self._damaged, self._lost_s = False, 0.0
        self._into.add(samples, rate)

    def _ahead(self, samples: Samples, rate: int, *, time_s: float, missing_s: float) -> Samples:
        """Sound from before the first picture is left out; a clock that was set back is followed from there."""
        if self._into.seconds == self._begins_s:
            return samples[:, round(-missing_s * rate) :]
        if missing_s < -_BACK_S:
            self._origin_s = time_s + self._begins_s - self._into.seconds
        return samples

    def _fill(self, seconds: float) -> bool:
        """So much silence, told; False if no clock is believed that far."""
        assert self._kind is not None
        channels, rate = self._kind
        length = round(seconds * rate)
        at_s = self._into.seconds
        findings = self._findings
        if seconds > LONGEST_GAP_S or findings.silence + length * channels > _MOST_SILENCE:
            findings.notes.append(f"its clock jumps by {seconds:.6g} s at {at_s:.2f} s: that is not believed")
            return False
        if self._pauses and not self._damaged:
            findings.gaps.append((at_s, seconds))
        else:
            findings.add_damage(at_s, seconds)
        findings.silence += length * channels
        while length > 0 and not self._into.complete:
            self._into.add(np.zeros((channels, min(length, _AT_ONCE)), np.float32), rate)
            length -= _AT_ONCE
        return True
