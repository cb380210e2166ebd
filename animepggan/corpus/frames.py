"""Stills out of videos: which videos are done, what their stills are called, and how they are written.

A still is taken where a scene begins and every so many seconds after (`scenes`). `OUT/videos.jsonl` tells which videos
were taken, under which names and with which options, so that a second start does only what is missing.
"""

from __future__ import annotations

import hashlib
import math
import os
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from animepggan.bar import Bar, silent
from animepggan.corpus.job import Record, open_record
from animepggan.corpus.names import printable
from animepggan.corpus.scenes import Taken, pick_stills
from animepggan.corpus.spec import Bad
from animepggan.corpus.video import ENDINGS, Video, VideoError, picture, pyav
from animepggan.disk import replacing
from animepggan.errors import DataError

RECORD = "videos.jsonl"
DEFAULT_OUTPUT = Path("data", "stills")

_KEYS = {"name", "path", "fingerprint", "wanted"}  # of a row
_SAMPLE = 1 << 20  # bytes at the start, the middle and the end of a file by which it is known again
_NAME_BYTES = 180  # of UTF-8; the time and an ending come to it, and file systems take 255


@dataclass(frozen=True)
class FramesSummary:
    """What came of the videos."""

    output: Path
    videos: list[Taken]
    unreadable: list[Bad]

    @property
    def stills(self) -> int:
        """How many there are; a video that was given twice counts once."""
        return sum({video.name: video.stills for video in self.videos}.values())


@dataclass(frozen=True)
class _Wanted:
    """What is taken of each video, and how it is written."""

    every: float  # seconds after a still until the next one is looked at; 0: only where scenes begin
    start: float  # seconds
    end: float | None
    format: Literal["png", "jpeg"]
    quality: int  # of JPEG

    @property
    def ending(self) -> str:
        """Of the stills' names."""
        return ".jpg" if self.format == "jpeg" else ".png"


@dataclass(frozen=True)
class _Item:
    path: Path
    fingerprint: str
    seconds: float | None


def frames(
    videos: str | Path | Sequence[str | Path],
    output: str | Path = DEFAULT_OUTPUT,
    *,
    every: float = 1.0,
    start: float = 0.0,
    end: float | None = None,
    format: Literal["png", "jpeg"] = "png",
    quality: int = 95,
    bar: Bar = silent,
) -> FramesSummary:
    """Take stills out of `videos` (files, and folders of them) into the folder `output`.

    `every`: seconds between two stills of a scene, 0 for only one where each begins. `start` and `end`: seconds.
    `quality`: of jpeg, 1 to 100. Videos that `output` has with the same options are not read again; others, and those
    that cannot be read, stop nothing.

    Raises DataError where there are no videos or PyAV is missing, BusyError where another process writes to `output`,
    OSError where a still cannot be written.
    """
    pyav()
    paths = [Path(path) for path in ([videos] if isinstance(videos, str | Path) else videos)]
    found = find_videos(paths)
    if not found:
        shown = printable(", ".join(map(str, paths)))
        raise DataError(f"{shown}: no videos in there\nname the files, or folders that hold them")
    summary = FramesSummary(Path(output).expanduser(), [], [])
    with open_record(summary.output / RECORD, "name") as record:
        job = _Job(summary.output, _Wanted(every, start, end, format, quality), record, bar)
        for result in job.run(found):
            if isinstance(result, Bad):
                summary.unreadable.append(result)
            else:
                summary.videos.append(result)
    return summary


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


class _Job:
    """The videos of one start: what is known of them, and what is left to do."""

    def __init__(self, folder: Path, wanted: _Wanted, record: Record, bar: Bar) -> None:
        self._folder, self._wanted, self._record, self._bar = folder, wanted, record, bar
        self._read, self._total = 0.0, 0  # seconds

    def run(self, videos: Sequence[Path]) -> Iterator[Taken | Bad]:
        """A result a video in the order given, those that cannot be opened first."""
        items: list[_Item] = []
        for path in videos:
            try:
                with Video(path) as video:
                    items.append(_Item(path, _fingerprint(path), video.seconds))
            except (VideoError, OSError) as error:
                yield Bad(str(path), getattr(error, "strerror", None) or str(error))
        rows = {name: row for name in self._record.names() if (row := self._record.get(name)) and row.keys() >= _KEYS}
        names = _names(items, rows)
        todo = [item for item in items if self._done(item, names[item.path]) is None]
        self._total = math.ceil(sum(map(self._span, todo)))
        for item in items:
            yield self._done(item, names[item.path]) or self._take(item, names[item.path])
        if self._total:
            self._bar("frames", self._total, self._total)

    def _span(self, item: _Item) -> float:
        """Seconds to read, as far as the file says."""
        end = min(item.seconds or 0.0, math.inf if self._wanted.end is None else self._wanted.end)
        return max(0.0, end - self._wanted.start)

    def _row(self, item: _Item, name: str) -> dict[str, Any] | None:
        """The last row of this very content with these very options, if no other row of its name came after it."""
        row = self._record.get(name) or {}
        same = (row.get("fingerprint"), row.get("wanted")) == (item.fingerprint, asdict(self._wanted))
        return row if same else None

    def _done(self, item: _Item, name: str) -> Taken | None:
        row = self._row(item, name)
        with suppress(KeyError, TypeError):  # begun only, or damaged
            return None if row is None else replace(Taken(**row["taken"]), video=str(item.path), before=True)
        return None

    def _take(self, item: _Item, name: str) -> Taken | Bad:
        started, wanted = self._row(item, name) is not None, self._wanted
        taken = Taken(str(item.path), name)
        row = {
            "name": name,
            "path": str(item.path.resolve()),
            "fingerprint": item.fingerprint,
            "wanted": asdict(wanted),
        }
        if not started:
            self._record.add(row)
        try:
            with Video(item.path) as video, _in_background() as soon:
                at = wanted.start
                last_file = None
                for time, shot in pick_stills(video.frames(wanted.start, wanted.end), wanted.every, taken):
                    self._read, at = self._read + max(0.0, time - at), max(time, at)
                    if self._total:
                        self._bar("frames", min(int(self._read), self._total - 1), self._total)
                    taken.seconds = time
                    path = self._folder / f"{name}-{time_name(time)}{wanted.ending}"
                    # Of an earlier start that did not get to the end, what is there is whole.
                    if shot is not None and path != last_file and not (started and path.is_file()):
                        soon(_write, path, wanted, *shot, video.aspect)
                    last_file = path if shot is not None else last_file
                taken.damaged, taken.problem = video.damaged, video.problem
        except VideoError as error:
            return Bad(str(item.path), str(error))
        if taken.seconds == 0 and not taken.stills:
            return Bad(str(item.path), taken.problem or f"no frame{' from --start on' * (wanted.start > 0)}")
        self._record.add({**row, "taken": asdict(taken)})
        return taken


def _fingerprint(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for at in (0, size // 2, max(0, size - _SAMPLE)):
            file.seek(at)
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def _names(items: Sequence[_Item], rows: Mapping[str, Mapping[str, Any]]) -> dict[Path, str]:
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


def time_name(seconds: float) -> str:
    """A time as a part of a file name, sorted as the times are: 00h12m03.480s."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}h{minutes % 60:02d}m{rest // 1000:02d}.{rest % 1000:03d}s"


@contextmanager
def _in_background() -> Iterator[Callable[..., None]]:
    """For work that threads do while frames are decoded; its error is raised by a later call, or at the end."""
    count = os.cpu_count() or 1
    pending: deque[Future[None]] = deque()
    pool = ThreadPoolExecutor(count)

    def soon(work: Callable[..., None], *arguments: object) -> None:
        while len(pending) >= 2 * count:  # frames are large
            pending.popleft().result()
        pending.append(pool.submit(work, *arguments))

    try:
        yield soon
        for future in pending:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _write(path: Path, wanted: _Wanted, *shot: Any) -> None:
    image = Image.fromarray(picture(*shot))
    with replacing(path) as partial, partial.open("wb") as file:
        if wanted.format == "png":
            image.save(file, "PNG", compress_level=3)  # more takes far longer and saves little
        else:  # the colors of a video are stored at half its size: no second halving
            image.save(file, "JPEG", quality=wanted.quality, subsampling=0)
