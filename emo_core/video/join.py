"""All segments to the finished output: packets copied as they are and sound added; or a GIF; or PNG pictures."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import Waveform
from ..files import media_name
from .formats import VideoFormat
from .output import SOUND, picture_name
from .sound import add_audio_stream, encode_audio_stream, write_wav

if TYPE_CHECKING:
    from av import Packet, VideoFrame


def join_copy(
    segments: Sequence[Path],
    target: Path,
    *,
    fmt: VideoFormat,
    fps: Fraction,
    audio: Waveform | None,
    metadata: Mapping[str, str] | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write `target` from the segments' packets without encoding them again, `audio` beside them in time order.
    `check` is called now and then, here and below, and may raise to stop it."""
    import av

    options = dict(fmt.container_options)
    if fmt.container in ("mp4", "mov"):  # ticks that a frame is a whole number of; PyAV before 16 leaves 1/90000
        options["video_track_timescale"] = str(fps.numerator * 512)
        if metadata:  # names of our own are dropped otherwise
            options["movflags"] = options.get("movflags", "") + "+use_metadata_tags"
    with av.open(media_name(target), "w", format=fmt.container, options=options) as container:
        container.metadata.update(metadata or {})
        with av.open(media_name(segments[0])) as first:
            video = container.add_stream_from_template(first.streams.video[0], opaque=True)
        streams: list[Iterator[Packet]] = [_video_packets(segments, video, fps)]
        if audio is not None:
            streams.append(encode_audio_stream(add_audio_stream(container, audio, fmt), audio))
        for packet in heapq.merge(*streams, key=_seconds):
            check()
            container.mux(packet)


def _seconds(packet: Packet) -> Fraction:
    assert packet.dts is not None and packet.time_base is not None
    return packet.dts * packet.time_base


def _video_packets(segments: Sequence[Path], stream: Any, fps: Fraction) -> Iterator[Packet]:
    """Every segment's packets with the times they have in the whole video."""
    for position, packet in enumerate(_packets(segments)):
        packet.time_base = 1 / fps
        packet.pts = packet.dts = position  # no B-frames: the order of packets is the order of pictures
        packet.duration = 1
        packet.stream = stream
        yield packet


def _packets(segments: Sequence[Path]) -> Iterator[Packet]:
    import av

    for segment in segments:
        with av.open(media_name(segment)) as source:
            yield from (packet for packet in source.demux(video=0) if packet.size)


def join_png(
    segments: Sequence[Path], folder: Path, *, audio: Waveform | None, check: Callable[[], None] = lambda: None
) -> None:
    """Write 000000.png, 000001.png ... and the sound into `folder`, which must not exist yet."""
    folder.mkdir()
    for index, packet in enumerate(_packets(segments)):  # a packet of the png codec is a PNG file
        check()
        (folder / picture_name(index)).write_bytes(bytes(packet))
    if audio is not None:
        write_wav(folder / SOUND, audio)


def join_gif(
    segments: Sequence[Path], target: Path, *, fps: Fraction, check: Callable[[], None] = lambda: None
) -> None:
    """Write an endlessly repeating GIF; its clock ticks in hundredths of a second, so other rates are rounded to it."""
    import av

    with av.open(media_name(target), "w", format="gif", options={"loop": "0"}) as container:
        stream: Any = container.add_stream("gif", rate=fps)
        graph: Any = None
        for index, picture in enumerate(_pictures(segments)):
            check()
            if graph is None:
                stream.height, stream.width, stream.pix_fmt = picture.height, picture.width, "pal8"
                graph = _gif_graph(picture, fps)
            picture.pts, picture.time_base = index, 1 / fps
            graph.push(picture)
            _drain(graph, stream, container)
        graph.push(None)
        _drain(graph, stream, container)
        container.mux(stream.encode())


def _pictures(segments: Sequence[Path]) -> Iterator[VideoFrame]:
    import av

    for segment in segments:
        with av.open(media_name(segment)) as source:
            yield from source.decode(video=0)


def _gif_graph(picture: VideoFrame, fps: Fraction) -> Any:
    """RGB in, 256 colours out: a palette per picture, dithering only where the picture changed (no crawling noise)."""
    from av.filter import Graph

    graph: Any = Graph()
    source = graph.add_buffer(width=picture.width, height=picture.height, format=picture.format, time_base=1 / fps)
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=single")
    use = graph.add("paletteuse", "new=1:diff_mode=rectangle")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _drain(graph: Any, stream: Any, container: Any) -> None:
    """Encode whatever the filters have ready."""
    from av.error import BlockingIOError as NothingReady
    from av.error import EOFError as Finished

    while True:
        try:
            frame = graph.pull()
        except (NothingReady, Finished):
            return
        container.mux(stream.encode(frame))
