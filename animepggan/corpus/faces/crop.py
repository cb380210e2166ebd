"""Cutting the faces of a SPEC into a folder, in several processes, so that it can be stopped and gone on with.

    OUTPUT/pictures/NAME-HASH-1.png ...   the crops, and nothing else
    OUTPUT/crops.jsonl                    a line a crop, in the order of the corpus
    OUTPUT/rejects.jsonl                  faces left out, pictures without any, unreadable ones: each with its reason
    OUTPUT/.done.jsonl                    what was asked for, and a line a picture that is done (`job.Record`)

The two lists are made of the record at the end. A picture is done again when it has changed (`Entry.stamp`) or when a
crop of it is gone; those of pictures that have left the corpus are removed.
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from animepggan.bar import Bar, silent
from animepggan.corpus.decode import open_picture
from animepggan.corpus.description import read_lines, write_lines
from animepggan.corpus.faces.align import Square, cut, square_of
from animepggan.corpus.faces.detector import Detector, open_detector
from animepggan.corpus.faces.face import CROPS, REJECTS, Face, Given, face_values
from animepggan.corpus.headers import DecodeError
from animepggan.corpus.job import Record, open_record
from animepggan.corpus.names import printable
from animepggan.corpus.source import no_pictures
from animepggan.corpus.spec import Bad, Entry, Source, source_of
from animepggan.corpus.sweep import attempt, in_order
from animepggan.corpus.worker import cores, serve
from animepggan.disk import expanded, replacing
from animepggan.errors import DataError, RecipeError, ResourceError, resource_errors

RECORD = ".done.jsonl"
CROPS_FOLDER = "pictures"

RANGES = (
    ("size", 16, 2048),
    ("loose", 0.3, 4),
    ("min_face", 16, math.inf),
    ("max_tilt", 0, 90),
    ("confidence", 0, 1),
)
EDITION = 1
"""Raised whenever the same request cuts other crops."""

_UNREADABLE = "unreadable"  # how the reason begins
_INSIDE = 0.5  # share of a crop that the picture has to fill; the rest would be mirrored


@dataclass(frozen=True)
class CropOptions:
    """What is cut, and what is left out."""

    size: int = 256  # pixels, side of a crop
    loose: float = 1.0  # times the side that alignment gives a crop
    min_face: float = 80.0  # pixels, width of a face without its hair
    max_tilt: float = 35.0  # degrees
    confidence: float = 0.85  # 0 to 1, the least score

    def __post_init__(self) -> None:
        """RecipeError where one is out of its range."""
        for name, least, most in RANGES:
            value = getattr(self, name)
            if not least <= value <= most:
                raise RecipeError(f"{name} {value:g} is not a number from {least:g} to {most:g}")


@dataclass(frozen=True)
class CropSummary:
    """What a finished folder holds, and what this start did."""

    output: Path
    detector: str  # who found the faces
    pictures: int  # of the corpus
    done: int  # pictures gone through by this start; 0: the folder was finished
    crops: int
    rejected: int  # faces
    without_face: int  # pictures
    unreadable: int  # pictures
    removed: int  # crops of pictures that have left the corpus, or changed
    reasons: dict[str, int]  # why faces were rejected, the numbers in the reasons left out


@resource_errors()
def crop(
    data: str | Path | Source,
    output: str | Path | None = None,
    *,
    size: int = CropOptions.size,
    loose: float = CropOptions.loose,
    min_face: float = CropOptions.min_face,
    max_tilt: float = CropOptions.max_tilt,
    confidence: float = CropOptions.confidence,
    detector: str | Detector | None = None,
    landmarks: str | Path | None = None,
    workers: int | None = None,
    restart: bool = False,
    bar: Bar = silent,
) -> CropSummary:
    """Find, align and cut the faces of every picture of `data` into the folder `output` (`data/NAME-faces`).

    `size`: pixels, side of a crop. `loose`: times the side that eyes and mouth give it. `min_face` (pixels),
    `max_tilt` (degrees) and `confidence` (0 to 1): which faces are cut. `detector`: one of `detector.NAMES`, by default
    the best at hand; with `landmarks`, a file of them or an earlier output, nobody searches. `workers`: processes, one
    a core by default where the detector gains by it, 0 for this one. `restart`: throw away what is in `output`.

    Goes on where an earlier start with the same options ended; RecipeError where one is out of its range, ModelError
    where the options are others or the detector cannot work, DataError where `output` holds anything else, lies in the
    corpus or no picture is there, BusyError where another process is cutting, ResourceError for want of disk or memory.
    """
    options = CropOptions(size, loose, min_face, max_tilt, confidence)
    source = source_of(data)
    output = Path("data", f"{source.name}-faces") if output is None else expanded(output)
    finder: Detector | Given
    if landmarks is not None:
        finder = Given(expanded(landmarks))
    elif detector is None or isinstance(detector, str):
        finder = open_detector(detector, smallest=min_face, largest_tilt=max_tilt)
    else:
        finder = detector
    _check(source, output, finder)
    entries = source.entries
    place = str(Path(source.base).resolve()) if Path(source.base).exists() else source.base
    request = {"edition": EDITION, "spec": place, "detector": finder.identity, **asdict(options)}
    with open_record(output / RECORD, "source") as record:
        _begin(output, record, request, restart)
        (output / CROPS_FOLDER).mkdir(exist_ok=True)
        todo = [entry for entry in entries if not _is_done(entry, record, output)]
        left = record.names() - {entry.name for entry in entries}
        before = {file for name in (*left, *(entry.name for entry in todo)) for file in _files(record, name)}
        before_this = len(entries) - len(todo)
        bar("faces", before_this, len(entries))
        for done, line in enumerate(_lines_of(todo, output, options, finder, workers), 1):
            record.add(line)
            bar("faces", before_this + done, len(entries))
        gone = before - {file for entry in todo for file in _files(record, entry.name)}
        for file in gone:
            (output / file).unlink(missing_ok=True)
        counts, reasons = _conclude(output, entries, record)
    return CropSummary(
        output=output,
        detector=finder.identity,
        pictures=len(entries),
        done=len(todo),
        crops=counts["crops"],
        rejected=counts["rejected"],
        without_face=counts["without_face"],
        unreadable=counts["unreadable"],
        removed=len(gone),
        reasons=dict(reasons.most_common()),
    )


def rejected(source: Source, output: Path) -> Iterator[tuple[dict[str, Any], Image.Image]]:
    """The rows of `rejects.jsonl` whose pictures can be opened, the likeliest faces first, each with what it is about:
    the surroundings of the face, or the whole picture.
    """
    entries = {entry.name: entry for entry in source.entries}
    rows = [row for _, row in read_lines(output / REJECTS) if row["source"] in entries]
    for row in sorted(rows, key=lambda row: row.get("score", -1.0), reverse=True):
        image = attempt(entries[row["source"]], lambda _, file: _decoded(file))
        if isinstance(image, Bad):
            continue
        if "box" in row:
            x0, y0, x1, y1 = row["box"]
            grow = (x1 - x0) / 2
            image = image.crop((round(x0 - grow), round(y0 - grow), round(x1 + grow), round(y1 + grow)))
        yield row, image


# ---------------------------------------------------------------- the folder


def _check(source: Source, output: Path, finder: Detector | Given) -> None:
    """DataError where the crops would land in the corpus, or nothing can come of it."""
    base = Path(source.base)
    if base.is_dir() and output.resolve().is_relative_to(base.resolve()):
        raise DataError(
            f"{printable(str(output))} lies in {printable(str(base))}, whose next reading would find the crops there\n"
            "choose another --output"
        )
    if not source.entries:
        raise no_pictures(source.spec, source.skipped)
    if isinstance(finder, Given) and not any(entry.name in finder.faces for entry in source.entries):
        some = printable(next(iter(finder.faces)))
        raise DataError(
            f"no picture of {printable(source.spec)} is named in the landmarks file (it names {some})\n"
            "its `source` is the name of a picture relative to the SPEC"
        )


def _begin(output: Path, record: Record, request: dict[str, Any], restart: bool) -> None:
    """Check that `output` is new or ours and of the same request, which is noted."""
    shown = printable(str(output))
    others = sorted({path.name for path in output.iterdir()} - {RECORD, ".lock"})
    if record.request is None and others:
        raise DataError(
            f"{shown}: not empty ({printable(others[0])} is there), and not cut by data crop\n"
            "choose another --output, or delete that folder"
        )
    if restart:
        for file in {file for name in record.names() for file in _files(record, name)}:
            (output / file).unlink(missing_ok=True)
        record.clear()
    advice = f"choose another --output, or --restart to cut it all anew; --landmarks {shown} spares the search"
    record.agree(output, request, advice)


def _is_done(entry: Entry, record: Record, output: Path) -> bool:
    """Whether a picture is done, as it is now, and its crops are there."""
    line = record.get(entry.name)
    if line is None or line["stamp"] != entry.stamp:
        return False
    return all((output / file).is_file() for file in _files(record, entry.name))


def _files(record: Record, name: str) -> set[str]:
    """The crops of a picture, relative to the output."""
    line = record.get(name)
    return set() if line is None else {face["file"] for face in line["faces"] if "file" in face}


def _conclude(output: Path, entries: Sequence[Entry], record: Record) -> tuple[Counter[str], Counter[str]]:
    """Write both lists from the record; how many there are of what, and why faces were rejected."""
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()

    def lines() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for entry in entries:
            line = record.get(entry.name)
            assert line is not None
            yield {"source": entry.name}, line

    def kept() -> Iterator[dict[str, Any]]:
        for source, line in lines():
            for face in line["faces"]:
                if "file" in face:
                    counts["crops"] += 1
                    yield source | face

    def left() -> Iterator[dict[str, Any]]:
        for source, line in lines():
            if "reason" in line:
                counts["unreadable" if line["reason"].startswith(_UNREADABLE) else "without_face"] += 1
                yield source | {"reason": line["reason"]}
            for face in line["faces"]:
                if "reason" in face:
                    counts["rejected"] += 1
                    reasons[face["reason"].partition(":")[0]] += 1
                    yield source | face

    write_lines(output / CROPS, kept())
    write_lines(output / REJECTS, left())
    return counts, reasons


# ---------------------------------------------------------------- the pictures


@dataclass(frozen=True)
class _Task:
    """One picture for a worker."""

    name: str
    stamp: int  # of the picture as it is now
    data: bytes | Bad
    faces: list[Face] | None  # None: find them


def _lines_of(
    entries: Sequence[Entry], output: Path, options: CropOptions, finder: Detector | Given, workers: int | None
) -> Iterator[dict[str, Any]]:
    """The record's line of every picture, as they get done."""
    given, detector = (finder.faces, None) if isinstance(finder, Given) else (None, finder)
    if workers is None:
        workers = cores() if detector is None or detector.in_processes else 0
    workers = min(workers, len(entries))
    tasks = (
        _Task(entry.name, entry.stamp, attempt(entry, _read), None if given is None else given.get(entry.name, []))
        for entry in entries
    )
    if workers < 2:
        yield from (_cut_faces(task, output, options, detector) for task in tasks)
        return
    # Spawned, not forked: the caller may be running threads.
    pool = partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context("spawn"), initializer=serve)
    work = partial(_do_here, output, options, None if detector is None else detector.name)
    try:
        yield from in_order(tasks, work, workers, pool=pool)
    except BrokenProcessPool as error:
        raise ResourceError(
            "a process that looked for faces was ended from outside, most likely for want of memory\n"
            "run the same command again with fewer --workers; what is done is kept"
        ) from error


def _read(_: Entry, file: BinaryIO) -> bytes:
    return file.read()


def _do_here(output: Path, options: CropOptions, detector: str | None, task: _Task) -> dict[str, Any]:
    """In a process of its own, whose detector is opened once."""
    return _cut_faces(task, output, options, None if detector is None else _opened(detector, options))


@cache
def _opened(detector: str, options: CropOptions) -> Detector:
    return open_detector(detector, smallest=options.min_face, largest_tilt=options.max_tilt)


def _cut_faces(task: _Task, output: Path, options: CropOptions, detector: Detector | None) -> dict[str, Any]:
    """Find and cut the faces of one picture; the line of the record that says what came of it."""
    line: dict[str, Any] = {"source": task.name, "stamp": task.stamp, "faces": []}
    try:
        if isinstance(task.data, Bad):
            raise DecodeError(task.data.reason)
        image = _decoded(BytesIO(task.data))
    except DecodeError as error:
        return {**line, "reason": f"{_UNREADABLE}: {error}"}
    found = task.faces
    if found is None:
        assert detector is not None
        found = detector.find(image)
    if not found:
        return {**line, "reason": "no face found"}
    found = sorted(found, key=lambda face: face.box[:2])
    name = name_of(task.name)
    line["faces"] = [_cut_one(image, face, f"{name}-{number}", output, options) for number, face in enumerate(found, 1)]
    return line


def _cut_one(image: Image.Image, face: Face, name: str, output: Path, options: CropOptions) -> dict[str, Any]:
    values = face_values(face)
    if reason := reject_reason(face, image.size, options):
        return {**values, "reason": reason}
    square = square_of(face.landmarks, options.loose)
    file = f"{CROPS_FOLDER}/{name}.png"
    with replacing(output / file) as partly:
        cut(image, square, options.size).save(partly, "PNG")
    transform = [[round(value, 6) for value in row] for row in square.to_crop(options.size).tolist()]
    return {"file": file, **values, "transform": transform}


def _decoded(file: BinaryIO) -> Image.Image:
    with warnings.catch_warnings():  # Pillow warns on standard error about oddities of files
        warnings.filterwarnings("ignore", module=r"PIL\.")
        return open_picture(file).image


def name_of(source: str) -> str:
    """The name of a crop without its number: readable, and no two of different sources are equal.

    `part/ep 01.png` becomes `ep-01-` and ten digits of the whole name's hash.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePosixPath(source).stem).strip("-.")[:80]
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{stem}-{digest}" if stem else digest


def reject_reason(face: Face, image_size: tuple[int, int], options: CropOptions) -> str | None:
    """Why a face is left out, in words and numbers; None when it is cut."""
    if face.score < options.confidence:
        return f"doubtful: score {face.score:.2f}, under {options.confidence:g}"
    if face.width < options.min_face:
        return f"small: {face.width:.0f} pixels wide, under {options.min_face:g}"
    if wrong := face.landmarks.implausible():
        return f"implausible: {wrong}"
    if abs(face.landmarks.tilt) > options.max_tilt:
        return f"tilted: by {abs(face.landmarks.tilt):.0f} degrees, over {options.max_tilt:g}"
    inside = _share_inside(square_of(face.landmarks, options.loose), image_size)
    if inside < _INSIDE:
        return f"at the edge: the picture fills {inside:.0%} of the crop, under {_INSIDE:.0%}"
    return None


def _share_inside(square: Square, image_size: tuple[int, int]) -> float:
    """How much of a square lies in the picture: 0 to 1, by a grid of points in it."""
    count = 24
    rows, columns = np.indices((count, count)) + 0.5
    x, y = np.tensordot(square.from_crop(count), np.stack([columns, rows, np.ones_like(rows)]), 1)
    width, height = image_size
    return float(((x >= 0) & (x < width) & (y >= 0) & (y < height)).mean())
