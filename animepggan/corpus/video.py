"""One video file: opened, decoded from end to end, and frames of it turned into pictures as a player shows them.

PyAV (extra `video`) is imported when first needed. A file is read through Python, never by a name that FFmpeg could
take for an address, and only by demuxers of the list below: playlists, which name other files, are none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from animepggan.errors import DataError

if TYPE_CHECKING:
    from av import VideoFrame

_ENDINGS = "3gp asf avi divx f4v flv m2ts m2v m4v mkv mov mp4 mpeg mpg mts mxf nut ogm ogv rm rmvb ts vob webm wmv y4m"
ENDINGS = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""Of the files that are looked for in a folder; a file named by itself may end as it likes."""

THUMBNAIL = (36, 64)  # height and width

_DEMUXERS = (
    "asf,avi,av1,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mov,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,vc1,yuv4mpegpipe"
)
_MAX_PIXELS = 85_000_000  # of a frame: more is refused before memory is taken; 8K has 33 million
_HEALING = 10.0  # seconds that frames are distrusted after damage, unless one comes that needs no other
_BUFFER = 1 << 18  # bytes read at once
_UNSPECIFIED, _BT709, _BT601 = 2, 1, 5  # matrices, as ITU-T H.273 numbers them
_MATRICES = {0, 1, 2, 3, 4, 5, 6, 7, 9}  # that FFmpeg's scaler knows
_PQ, _HLG, _SRGB = 16, 18, 13  # transfer functions, likewise


class VideoError(Exception):
    """A file that is no usable video; `str(error)` is the reason, a few words."""


def pyav() -> Any:
    """The module `av`; DataError where it is not installed."""
    try:
        import av
        import av.filter
        import av.video.reformatter
    except ImportError as error:
        raise DataError(
            f'videos are read with a package that is not installed here ({error.name})\npip install "animepggan[video]"'
        ) from error
    return av


class Video:
    """An open video file; VideoError where it holds no moving pictures."""

    seconds: float | None  # how long it should be, as the file says it; None where it does not
    problem: str | None = None  # what kept `frames` from reading all of it, a few words
    damaged: int = 0  # packets that could not be decoded so far
    note: str | None = None  # what its pictures are not sure of, a few words

    def __init__(self, path: Path) -> None:
        self._av = pyav()
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise VideoError(error.strerror or str(error)) from error
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()
        self._file.close()

    def _open(self) -> None:
        av = self._av
        options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
        try:
            self._container = av.open(self._file, "r", options=options, buffer_size=_BUFFER, metadata_errors="replace")
        except MemoryError:  # FFmpeg's own is an FFmpegError as well
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError("not a video of a kind that is known here, or damaged at its start") from error
        pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
        streams = self._container.streams.video
        moving = [stream for stream in streams if not stream.disposition & pictures]
        if not moving:
            self._container.close()
            raise VideoError("no moving pictures in it" + (", only a cover" if streams else ""))
        best = self._container.streams.best("video")
        self._stream = best if best in moving else moving[0]
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
        self.seconds = self._length()
        # Width over height of one pixel; what no player would believe is 1.
        aspect = self._stream.sample_aspect_ratio or self._stream.codec_context.sample_aspect_ratio
        self.aspect = aspect if aspect and Fraction(1, 4) <= aspect <= 4 else Fraction(1)

    def _length(self) -> float | None:
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        with suppress(KeyError, ValueError):  # Matroska tells the length of each stream in a tag of its own
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        return self._container.duration / 1e6 if self._container.duration else None

    def frames(self, start: float = 0.0, end: float | None = None) -> Iterator[tuple[float, VideoFrame]]:
        """The frames from `start` to `end` and their times, in seconds since the beginning, ever rising.

        What cannot be decoded is counted in `damaged` and left out, with what is made from it up to the next key frame;
        where reading stops early, `problem` says why.
        """
        if start > 0:
            # Where a file has no index to seek by, everything before is decoded and passed over.
            with suppress(self._av.FFmpegError, OSError):
                self._container.seek(int((start + self._origin()) * 1e6), backward=True)
        last, damaged, trusted_from = -1.0, 0, 0.0
        for time, frame in self._clocked():
            last = time
            if end is not None and time > end:
                return
            if frame.is_corrupt or self.damaged > damaged:
                damaged, trusted_from = self.damaged, time + _HEALING
            elif frame.key_frame:
                trusted_from = time
            if frame.colorspace not in _MATRICES:
                self.note = f"its colors are told by an unknown matrix ({frame.colorspace}), and taken as usual ones"
                frame.colorspace = _UNSPECIFIED
            if time >= max(start, trusted_from):
                yield time, frame
        # Sound often lasts a little longer than the pictures.
        if self.problem is None and self.seconds and last < min(0.95 * self.seconds, self.seconds - 1) - 1e-6:
            self.problem = f"it ends at {clock(max(last, 0))} of {clock(self.seconds)}"

    def _origin(self) -> float:
        """The time stamp of the beginning, in seconds: streams cut out of a broadcast start at any number."""
        if self._container.start_time is not None:
            return float(self._container.start_time / 1e6)
        return float((self._stream.start_time or 0) * (self._stream.time_base or 0))

    def _clocked(self) -> Iterator[tuple[float, VideoFrame]]:
        origin, rate = self._origin(), self._stream.average_rate or self._stream.guessed_rate or 25
        last = -1 / rate
        for frame in self._decoded():
            time = last if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base) - origin
            # Some files have frames without a time, and some start again at 0 where two were joined.
            last = time if time > last else last + 1 / rate
            yield float(max(last, 0.0)), frame

    def _decoded(self) -> Iterator[VideoFrame]:
        errors = (self._av.FFmpegError, OSError, ValueError)
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except MemoryError:
                raise
            except errors as error:
                self.problem = f"it cannot be read to its end: {getattr(error, 'strerror', None) or error}"
                return
            if packet is None:
                return
            if not packet.size and (packet.pts, packet.dts) != (
                None,
                None,
            ):  # the last frame again
                continue
            try:
                frames = packet.decode()
            except MemoryError:
                raise
            except errors:
                self.damaged += 1
                continue
            yield from frames


@contextmanager
def _converting() -> Iterator[None]:
    """Say as a VideoError what FFmpeg has against turning a frame into a picture: the file's trouble, nobody else's."""
    try:
        yield
    except MemoryError:
        raise
    except (pyav().FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"its frames cannot be turned into pictures ({str(reason).lower()})") from error


def thumbnail(frame: VideoFrame) -> NDArray[np.uint8]:
    """A frame reduced to `THUMBNAIL`, whatever its shape: [36, 64, 3], for comparisons only."""
    height, width = THUMBNAIL
    # One thread: the decoder has the others.
    with _converting():
        small = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA", threads=1)
    return small.to_ndarray().astype(np.uint8, copy=False)


def picture(
    before: VideoFrame | None, frame: VideoFrame, after: VideoFrame | None, aspect: Fraction
) -> NDArray[np.uint8]:
    """`frame` as a player shows it: RGB [h, w, 3], square pixels, upright, deinterlaced where it is flagged.

    Its neighbors give the missing half of the lines. Pixels that are not square are stretched along their longer side.
    The matrix of colors is the frame's own, else ITU-R BT.709 from 720 lines on, BT.601 below. HDR becomes sRGB.
    """
    from av.video.reformatter import Interpolation as flags  # noqa: N813

    turn = _turn(frame)
    if frame.interlaced_frame:
        with _converting():
            frame = _deinterlaced(before, frame, after)
    height, width = frame.height, frame.width
    colors: dict[str, Any] = {}
    if frame.colorspace == _UNSPECIFIED:
        colors["src_colorspace"] = _BT709 if height >= 720 or width >= 1280 else _BT601
    if frame.color_trc in (_PQ, _HLG):
        colors |= {"dst_color_trc": _SRGB, "dst_color_primaries": _BT709}
    with _converting():
        stretched = frame.reformat(
            width=max(width, round(width * aspect)),
            height=max(height, round(height / aspect)),
            format="rgb24",
            interpolation=flags.LANCZOS | flags.FULL_CHR_H_INT | flags.FULL_CHR_H_INP | flags.ACCURATE_RND,
            threads=1,
            **colors,
        )
    return np.ascontiguousarray(turn(stretched.to_ndarray().astype(np.uint8, copy=False)))


def _turn(frame: VideoFrame) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """How the pixels of a frame are turned and mirrored to be shown: the nearest of eight ways to what the file says.

    Its matrix maps x and y of a pixel to `a * x + c * y` and `b * x + d * y` on the screen (ISO/IEC 14496-12, 6.2.2).
    """
    told: Any = frame.side_data
    matrices = [data for data in told if data.type.name == "DISPLAYMATRIX"]
    if not matrices:
        return lambda pixels: pixels
    a, b, _, c, d = np.frombuffer(memoryview(matrices[0]), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return lambda pixels: pixels[:: 1 if d >= 0 else -1, :: 1 if a >= 0 else -1]
    return lambda pixels: pixels.transpose(1, 0, 2)[:: 1 if b >= 0 else -1, :: 1 if c >= 0 else -1]


def _deinterlaced(before: VideoFrame | None, frame: VideoFrame, after: VideoFrame | None) -> VideoFrame:
    from av.filter import Graph

    def form(one: VideoFrame) -> tuple[int, int, str]:
        return one.width, one.height, one.format.name

    run = [one for one in (before, frame, after) if one is not None and form(one) == form(frame)]
    graph = Graph()
    source = graph.add(
        "buffer",
        video_size=f"{frame.width}x{frame.height}",
        pix_fmt=frame.format.name,
        time_base=str(frame.time_base or Fraction(1, 25)),
        colorspace=str(int(frame.colorspace)),
        range=str(int(frame.color_range)),
    )
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=all"), graph.add("buffersink")).configure()
    for each in (*run, None):
        graph.vpush(each)
    drawn = [graph.vpull() for _ in run]
    return drawn[run.index(frame)]


def clock(seconds: float) -> str:
    """Seconds as people write them: 24:02, 1:24:02."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
