"""Stills out of videos: which frames are taken, what they are called, and which videos are done.

A still is taken where a scene begins and every so many seconds after; one that looks like an earlier one of the same
video, or shows a single color, is left out. `OUT/videos.jsonl` tells which videos were taken, under which names and
with which options, so that a second start does only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image

from animepggan.corpus.names import json_line, printable
from animepggan.corpus.spec import Bad
from animepggan.corpus.video import ENDINGS, THUMBNAIL, Video, VideoError, picture, pyav, thumbnail
from animepggan.errors import BusyError, DataError

if TYPE_CHECKING:
    from av import VideoFrame

T = TypeVar("T")

RECORD = "videos.jsonl"

CUT = 12.0  # mean difference of two frames' thumbnails, 0 to 255, from which on a scene may have changed,
CUT_OVER_MOTION = 3.0  # if it is also so many times what the frames before it differed by
MOTION_FRAMES = 12  # so many of them, half a second
SLOW = 0.1  # seconds between two frames from which on nothing blends them
UNREST = 0.5  # seconds after which a scene that never comes to rest is taken as it is

REPEAT = 1.5  # a still repeats another when their thumbnails differ by less than this in the mean
REPEAT_PIXEL, REPEAT_SHARE = 16, 0.01  # and less than this share of their pixels by more than this
MEMORY = 4096  # stills of a video that later ones are compared with
BLANK = 4.0  # deviation of the thumbnail's brightest channel below which there is nothing to see

_SAMPLE = 1 << 20  # bytes at the start, the middle and the end of a file by which it is known again
_NAME_BYTES = 180  # of UTF-8; the time and an ending come to it, and file systems take 255


@dataclass(frozen=True)
class Wanted:
    """What is taken of each video, and how it is written."""

    every: float = 1.0  # seconds after a still until the next one is looked at; 0: only where scenes begin
    start: float = 0.0  # seconds
    end: float | None = None
    format: Literal["png", "jpeg"] = "png"
    quality: int = 95  # of JPEG

    @property
    def ending(self) -> str:
        """Of the stills' names."""
        return ".jpg" if self.format == "jpeg" else ".png"


@dataclass
class Taken:
    """What came of a video."""

    video: str  # as given
    name: str  # what its stills are called before the time
    scenes: int = 0  # stills where a scene begins
    between: int = 0  # stills between
    repeats: int = 0  # left out: like an earlier still
    blank: int = 0  # left out: a single color
    damaged: int = 0  # packets that could not be decoded
    seconds: float = 0.0  # read, up to the last frame
    problem: str | None = None  # why not all of it was read
    before: bool = False  # done by an earlier start

    @property
    def stills(self) -> int:
        """How many there are of it."""
        return self.scenes + self.between


@dataclass(frozen=True)
class _Item:
    path: Path
    fingerprint: str
    seconds: float | None


def find_videos(paths: Iterable[Path]) -> list[Path]:
    """The files that `paths` name; a folder stands for the videos directly in it, by name."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
            found += [entry for entry in inside if entry.suffix.lower() in ENDINGS and entry.is_file()]
        else:
            found.append(path)
    return list(dict.fromkeys(found))


@contextmanager
def open_job(paths: Sequence[Path], folder: Path, wanted: Wanted) -> Iterator[Job]:
    """Look at all videos and hold `folder` against other processes.

    DataError where `paths` hold no videos or PyAV is missing; BusyError where another process writes to `folder`.
    """
    pyav()
    videos = find_videos(paths)
    if not videos:
        shown = printable(", ".join(map(str, paths)))
        raise DataError(f"{shown}: no videos in there\nname the files, or folders that hold them")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f".{RECORD}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        shown = printable(str(folder))
        raise BusyError(
            f"{shown}: another process writes stills there; wait for it, or choose another --output"
        ) from None
    try:
        yield Job(videos, folder, wanted)
    finally:
        lock.release()


class Job:
    """The videos of one start: those that can be read, those that cannot, and what is left to do."""

    def __init__(self, videos: Sequence[Path], folder: Path, wanted: Wanted) -> None:
        self.folder = folder
        self.wanted = wanted
        self.unreadable: list[Bad] = []
        self._items: list[_Item] = []
        self._rows = _read_rows(folder / RECORD)
        for path in videos:
            try:
                with Video(path) as video:
                    self._items.append(_Item(path, _fingerprint(path), video.seconds))
            except (VideoError, OSError) as error:
                self.unreadable.append(Bad(str(path), getattr(error, "strerror", None) or str(error)))
        self._names = _names(self._items, self._rows)

    @property
    def seconds(self) -> float:
        """How much video is left to read, as far as the files say."""
        return sum(self._span(item) for item in self._items if self._done(item) is None)

    def _span(self, item: _Item) -> float:
        if item.seconds is None:
            return 0.0
        end = item.seconds if self.wanted.end is None else min(self.wanted.end, item.seconds)
        return max(0.0, end - self.wanted.start)

    def _done(self, item: _Item) -> Taken | None:
        row = self._row(item)
        if row is None or "taken" not in row:
            return None
        return replace(Taken(**row["taken"]), video=str(item.path), before=True)

    def _row(self, item: _Item) -> dict[str, Any] | None:
        """The last row of this very content with these very options, if no other row of its name came after it."""
        row = self._rows.get(self._names[item.path])
        same = row is not None and (row["fingerprint"], row["wanted"]) == (item.fingerprint, asdict(self.wanted))
        return row if same else None

    def run(self, progress: Callable[[float], object]) -> Iterator[Taken | Bad]:
        """Take the stills, a result a video in the order given; `progress` hears of the seconds read since last time.

        Raises OSError where a still cannot be written.
        """
        yield from self.unreadable
        for item in self._items:
            yield self._done(item) or self._take(item, progress)

    def _take(self, item: _Item, progress: Callable[[float], object]) -> Taken | Bad:
        name, started = self._names[item.path], self._row(item) is not None
        taken = Taken(str(item.path), name)
        if not started:
            self._write_row(item, name, None)
        try:
            with Video(item.path) as video, _Writers() as writers:
                at = self.wanted.start
                last_file = None
                for choice in _chosen(video.frames(self.wanted.start, self.wanted.end), self.wanted.every, taken):
                    if choice.time > at:
                        progress(choice.time - at)
                        at = choice.time
                    taken.seconds = choice.time
                    if choice.kind is None:
                        continue
                    path = self.folder / f"{name}-{_stamp(choice.time)}{self.wanted.ending}"
                    # Of an earlier start that did not get to the end, what is there is whole.
                    if path != last_file and not (started and path.is_file()):
                        writers.write(path, choice, video.aspect, self.wanted)
                    last_file = path
                taken.damaged, taken.problem = video.damaged, video.problem
        except VideoError as error:
            return Bad(str(item.path), str(error))
        if taken.seconds == 0 and not taken.stills:
            return Bad(str(item.path), taken.problem or f"no frame{' from --start on' * (self.wanted.start > 0)}")
        self._write_row(item, name, taken)
        return taken

    def _write_row(self, item: _Item, name: str, taken: Taken | None) -> None:
        row: dict[str, Any] = {
            "name": name,
            "path": str(item.path.resolve()),
            "fingerprint": item.fingerprint,
            "wanted": asdict(self.wanted),
        }
        if taken is not None:
            row["taken"] = asdict(taken)
        with (self.folder / RECORD).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json_line(row))
        self._rows[name] = row


def _read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """The last row of each name; a line that is none (the last one of a killed process) is passed over."""
    rows: dict[str, dict[str, Any]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                rows[row["name"]] = {key: row[key] for key in ("name", "path", "fingerprint", "wanted")}
                if "taken" in row:
                    rows[row["name"]]["taken"] = asdict(Taken(**row["taken"]))
            except (ValueError, KeyError, TypeError):
                continue
    return rows


def _fingerprint(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for at in (0, size // 2, max(0, size - _SAMPLE)):
            file.seek(at)
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def _names(items: Sequence[_Item], rows: dict[str, dict[str, Any]]) -> dict[Path, str]:
    """A name for each video: its own, with its folder's before it where another has it, else with a part of its hash.

    A video that was here before keeps its name, wherever it is now and whatever became of it where it was.
    """
    by_content = {row["fingerprint"]: name for name, row in rows.items()}
    by_path = {row["path"]: name for name, row in rows.items()}
    names: dict[Path, str] = {}
    fresh: dict[str, Path] = {}  # content -> the first file of it
    for item in items:
        known = by_content.get(item.fingerprint) or by_path.get(str(item.path.resolve()))
        if known is not None:
            names[item.path] = known
        else:
            fresh.setdefault(item.fingerprint, item.path)

    def options(path: Path, fingerprint: str) -> list[str]:
        stem = _clean(path.stem)
        return [stem, _clean(f"{path.resolve().parent.name}-{path.stem}"), f"{stem}-{fingerprint[:8]}"]

    used = {_folded(name) for name in rows}
    wished = Counter(_folded(option) for print_, path in fresh.items() for option in set(options(path, print_)))
    given: dict[str, str] = {}
    for content, path in fresh.items():
        tries = options(path, content)
        # Not the first come: in whatever order the files are named, each gets the same name.
        free = (name for name in tries if _folded(name) not in used and wished[_folded(name)] == 1)
        given[content] = next(free, tries[-1])
    for item in items:
        names.setdefault(item.path, given.get(item.fingerprint, ""))
    return names


def _folded(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _clean(text: str) -> str:
    """`text` as a part of a file name on any system: printable, not hidden, not too long."""
    kept = "".join(char if char.isprintable() and char not in '/\\:*?"<>|' else "_" for char in text)
    return kept.encode("utf-8")[:_NAME_BYTES].decode("utf-8", errors="ignore").strip(" .") or "video"


def _stamp(seconds: float) -> str:
    """A time as a part of a file name, sorted as the times are: 00h12m03.480s."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}h{minutes % 60:02d}m{rest // 1000:02d}.{rest % 1000:03d}s"


@dataclass(frozen=True)
class _Choice:
    time: float
    kind: Literal["scene", "between"] | None  # None: not taken
    before: VideoFrame | None = field(default=None, repr=False)
    frame: VideoFrame | None = field(default=None, repr=False)
    after: VideoFrame | None = field(default=None, repr=False)


def _chosen(frames: Iterator[tuple[float, VideoFrame]], every: float, taken: Taken) -> Iterator[_Choice]:
    """Every frame, with whether it is taken; `taken` counts."""
    seen = _Seen()
    motion: deque[float] = deque(maxlen=MOTION_FRAMES)
    small: NDArray[np.uint8] | None = None
    begun: float | None = None  # when the scene began, of which nothing is taken yet
    looked = 0.0  # when a frame was last looked at
    for before, (time, frame), after in _with_neighbors(frames):
        small_before, small = small, thumbnail(frame)
        if before is None or small_before is None:
            cut, lone = True, after is None or after[0] - time >= SLOW
        else:
            moved = _difference(small, small_before)
            cut, lone = moved > max(CUT, CUT_OVER_MOTION * sum(motion) / MOTION_FRAMES), time - before[0] >= SLOW
            motion.append(moved)
        if cut and begun is None:
            begun = time
        kind: Literal["scene", "between"] | None = None
        # The first frame of a scene may hold a field of the scene before, or be a flash: its second is taken.
        if begun is not None and (not cut or lone or time - begun >= UNREST):
            kind, begun = "scene", None
        elif begun is None and every and time - looked >= every:
            kind = "between"
        if kind is not None:
            looked = time
            if small.std(axis=(0, 1)).max() < BLANK:
                taken.blank += 1
                kind = None
            elif seen.holds(small):
                taken.repeats += 1
                kind = None
        if kind is None:
            yield _Choice(time, None)
            continue
        seen.add(small)
        if kind == "scene":
            taken.scenes += 1
        else:
            taken.between += 1
        yield _Choice(time, kind, before and before[1], frame, after and after[1])


def _with_neighbors(items: Iterator[T]) -> Iterator[tuple[T | None, T, T | None]]:
    before: T | None = None
    current = next(items, None)
    while current is not None:
        after = next(items, None)
        yield before, current, after
        before, current = current, after


def _difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


class _Seen:
    """The stills of a video so far, as thumbnails."""

    def __init__(self) -> None:
        height, width = THUMBNAIL
        self._thumbnails = np.empty((MEMORY, height, width, 3), np.uint8)
        self._coarse = np.empty((MEMORY, height // 4 * (width // 4) * 3), np.float32)
        self._count = 0

    def add(self, small: NDArray[np.uint8]) -> None:
        """Remember a still, and forget the oldest where there are too many."""
        at = self._count % MEMORY
        self._thumbnails[at], self._coarse[at] = small, _coarse(small)
        self._count += 1

    def holds(self, small: NDArray[np.uint8]) -> bool:
        """Whether a still like it is there."""
        count = min(self._count, MEMORY)
        # Means over 4x4 pixels differ by no more than the pixels do, so that most need no closer look.
        coarse = np.abs(self._coarse[:count] - _coarse(small)).mean(axis=1)
        for index in np.flatnonzero(coarse < REPEAT):
            difference = np.abs(self._thumbnails[index].astype(np.int16) - small)
            if difference.mean() < REPEAT and (difference.max(axis=2) > REPEAT_PIXEL).mean() < REPEAT_SHARE:
                return True
        return False


def _coarse(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = THUMBNAIL
    blocks = small.reshape(height // 4, 4, width // 4, 4, 3)
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32).ravel()
    return means


class _Writers:
    """Threads that turn frames into files while the next ones are decoded."""

    def __init__(self) -> None:
        self._count = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._count)
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            if kind is None:
                for future in self._pending:
                    future.result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def write(self, path: Path, choice: _Choice, aspect: Fraction, wanted: Wanted) -> None:
        """Write a still soon; an error of one before it is raised here."""
        while len(self._pending) >= 2 * self._count:  # frames are large
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(_write, path, choice, aspect, wanted))


def _write(path: Path, choice: _Choice, aspect: Fraction, wanted: Wanted) -> None:
    assert choice.frame is not None
    image = Image.fromarray(picture(choice.before, choice.frame, choice.after, aspect))
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            if wanted.format == "png":
                image.save(file, "PNG", compress_level=3)  # more takes far longer and saves little
            else:  # the colors of a video are stored at half its size: no second halving
                image.save(file, "JPEG", quality=wanted.quality, subsampling=0)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
