"""Stills out of videos: which videos are done, what their stills are called, and how they are written.

A still is taken where a scene begins and every so many seconds after (`scenes`). `OUT/videos.jsonl` tells which videos
were taken, under which names and with which options, so that a second start does only what is missing.
"""

from __future__ import annotations

import glob
import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from animepggan.bar import Bar, silent
from animepggan.corpus.content import HEAD, format_of
from animepggan.corpus.folders import walk
from animepggan.corpus.job import Record, open_record
from animepggan.corpus.names import printable
from animepggan.corpus.scenes import Taken, pick_stills
from animepggan.corpus.spec import Bad
from animepggan.corpus.sweep import in_order
from animepggan.corpus.video import ENDINGS, Video, VideoError, picture, pyav
from animepggan.disk import expanded, replacing
from animepggan.errors import DataError, RecipeError, resource_errors

RECORD = "videos.jsonl"
DEFAULT_OUTPUT = Path("data", "stills")

Format = Literal["png", "jpeg"]
DecodeLater = Callable[[], NDArray[np.uint8]]

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


@resource_errors()
def frames(
    videos: str | Path | Sequence[str | Path],
    output: str | Path = DEFAULT_OUTPUT,
    *,
    every: float = 1.0,
    start: float = 0.0,
    end: float | None = None,
    format: Format = "png",
    quality: int = 95,
    bar: Bar = silent,
) -> FramesSummary:
    """Take stills out of `videos` (files, and folders of them) into the folder `output`.

    `every`: seconds between two stills of a scene, 0 for only one where each begins. `start` and `end`: seconds.
    `quality`: of jpeg, 1 to 100. Videos that `output` has with the same options are not read again; others, and those
    that cannot be read, stop nothing.

    Raises DataError where there are no videos or PyAV is missing, BusyError where another process writes to `output`,
    RecipeError where a value is out of its range, ResourceError where a still cannot be written.
    """
    if format not in get_args(Format):
        raise RecipeError(f"format {format!r} is neither {' nor '.join(get_args(Format))}")
    if not 1 <= quality <= 100:
        raise RecipeError(f"quality {quality} is not a number from 1 to 100")
    if not 0 <= every < math.inf or not 0 <= start < math.inf:
        raise RecipeError(f"every {every}, start {start}: seconds are numbers from 0 on")
    if end is not None and not end > start:
        raise RecipeError(f"end {end} is not after start {start}")
    pyav()
    paths = [expanded(path) for path in ([videos] if isinstance(videos, str | Path) else videos)]
    found = find_videos(paths)
    if not found:
        shown = printable(", ".join(map(str, paths)))
        raise DataError(f"{shown}: no videos in there\nname the files, or folders that hold them")
    wanted = {"every": every, "start": start, "end": end, "format": format, "quality": quality}
    summary = FramesSummary(expanded(output), [], [])
    with open_record(summary.output / RECORD, "name") as record:
        fingerprints: dict[Path, str] = {}
        spans: dict[Path, float] = {}  # seconds to read, as far as the file says
        for path in found:
            try:
                with Video(path) as video:
                    fingerprints[path] = _fingerprint(path)
                    spans[path] = max(0.0, min(video.seconds or 0.0, math.inf if end is None else end) - start)
            except (VideoError, OSError) as error:
                summary.unreadable.append(Bad(str(path), getattr(error, "strerror", None) or str(error)))
        rows = {
            path: {"name": name, "path": str(path.resolve()), "fingerprint": fingerprints[path], "wanted": wanted}
            for path, name in _names(fingerprints, record).items()
        }
        total = math.ceil(sum(spans[path] for path, row in rows.items() if _done(path, row, record) is None))
        read = 0.0

        def tell(seconds: float) -> None:
            nonlocal read
            read += seconds
            if total:
                bar("frames", min(int(read), total - 1), total)

        for path, row in rows.items():
            result = _done(path, row, record) or _take(path, row, record, summary.output, tell)
            if isinstance(result, Bad):
                summary.unreadable.append(result)
            else:
                summary.videos.append(result)
        if total:
            bar("frames", total, total)
    return summary


def find_videos(paths: Iterable[Path]) -> list[Path]:
    """The files that `paths` name; a folder stands for the videos in it and below, by name."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [path / name for name, ending, *_ in walk(path, trust_links=True) if ending]
        found += sorted(file for file in inside if file.suffix.lower() in ENDINGS or _looks_like_one(file))
    return list(dict.fromkeys(found))


def _looks_like_one(path: Path) -> bool:
    """Whether a file is a video by its first bytes."""
    with suppress(OSError):
        if path.is_file():  # no pipe, which would be waited for
            with path.open("rb") as file:
                return (format_of(file.read(HEAD)) or ("", ""))[1] == "video"
    return False


def _begun(row: Mapping[str, Any], record: Record) -> dict[str, Any] | None:
    """The last row of this very content with these very options, if no other row of its name came after it."""
    last = record.get(row["name"]) or {}
    return last if all(last.get(key) == row[key] for key in ("fingerprint", "wanted")) else None


def _done(path: Path, row: Mapping[str, Any], record: Record) -> Taken | None:
    last = _begun(row, record)
    with suppress(KeyError, TypeError):  # begun only, or damaged
        return None if last is None else replace(Taken(**last["taken"]), video=str(path), before=True)
    return None


def _take(
    path: Path, row: Mapping[str, Any], record: Record, folder: Path, tell: Callable[[float], object]
) -> Taken | Bad:
    """Take the stills of one video, and its row of the record when it is done; `tell` is told the seconds read."""
    started, wanted = _begun(row, record) is not None, row["wanted"]
    taken = Taken(str(path), row["name"])
    if not started:
        record.add(row)

    def stills(video: Video) -> Iterator[tuple[Path, Mapping[str, Any], DecodeLater]]:
        at, last_file = wanted["start"], None
        for time, shot in pick_stills(video.frames(wanted["start"], wanted["end"]), wanted["every"], taken):
            tell(max(0.0, time - at))
            at, taken.seconds = max(time, at), time
            if shot is None:
                continue
            file = folder / f"{taken.name}-{time_name(time)}{'.jpg' if wanted['format'] == 'jpeg' else '.png'}"
            # Of an earlier start that did not get to the end, what is there is whole.
            if file != last_file and not (started and file.is_file()):
                yield file, wanted, partial(picture, *shot, video.aspect)
            last_file = file

    try:
        with Video(path) as video:
            for _ in in_order(stills(video), _write, None, ahead=2):  # few at a time: frames are large
                pass
            taken.damaged, taken.problem, taken.note = video.damaged, video.problem, video.note
    except VideoError as error:
        if not taken.stills or not any(folder.glob(f"{glob.escape(taken.name)}-*")):
            return Bad(str(path), str(error))
        taken.problem = str(error)
    if taken.seconds == 0 and not taken.stills:
        return Bad(str(path), taken.problem or f"no frame{' from --start on' * (wanted['start'] > 0)}")
    record.add({**row, "taken": asdict(taken)})
    return taken


def _write(still: tuple[Path, Mapping[str, Any], DecodeLater]) -> None:
    path, wanted, draw = still
    image = Image.fromarray(draw())
    with replacing(path) as new, new.open("wb") as file:
        if wanted["format"] == "png":
            image.save(file, "PNG", compress_level=3)  # more takes far longer and saves little
        else:  # the colors of a video are stored at half its size: no second halving
            image.save(file, "JPEG", quality=wanted["quality"], subsampling=0)


def _fingerprint(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for at in (0, size // 2, max(0, size - _SAMPLE)):
            file.seek(at)
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def _names(fingerprints: Mapping[Path, str], record: Record) -> dict[Path, str]:
    """A name for each video: its own, with its folder's before it where another has it, else with a part of its hash.

    A video that was here before keeps its name, wherever it is now and whatever became of it where it was.
    """
    rows = {name: row for name in record.names() if (row := record.get(name)) and row.keys() >= _KEYS}
    by_content = {row["fingerprint"]: name for name, row in rows.items()}
    by_path = {row["path"]: name for name, row in rows.items()}
    names: dict[Path, str] = {}
    fresh: dict[str, list[str]] = {}  # content -> what it may be called
    for path, content in fingerprints.items():
        known = by_content.get(content) or by_path.get(str(path.resolve()))
        if known is not None:
            names[path] = known
        elif content not in fresh:
            stem = _clean(path.stem)
            fresh[content] = [stem, _clean(f"{path.resolve().parent.name}-{path.stem}"), f"{stem}-{content[:8]}"]
    used = {_folded(name) for name in rows}
    wished = Counter(_folded(option) for options in fresh.values() for option in set(options))

    def chosen(options: Sequence[str]) -> str:
        # Not the first come: in whatever order the files are named, each gets the same name.
        free = (name for name in options if _folded(name) not in used and wished[_folded(name)] == 1)
        return next(free, options[-1])

    return {path: names.get(path) or chosen(fresh[content]) for path, content in fingerprints.items()}


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
