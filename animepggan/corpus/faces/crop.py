"""Cutting the faces of a SPEC into a folder, in several processes, so that it can be stopped and gone on with.

    OUTPUT/pictures/NAME-HASH-1.png ...   the crops, and nothing else
    OUTPUT/crops.jsonl                    a line a crop, in the order of the corpus
    OUTPUT/rejects.jsonl                  faces left out, pictures without any, unreadable ones: each with its reason
    OUTPUT/.done.jsonl                    what was asked for, and a line a picture that is done (`job.Record`)

The two lists are made of the record at the end. A picture is done again when it has changed (`Entry.stamp`) or when a
crop of it is gone; those of pictures that have left the corpus are removed.
"""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from animepggan.bar import Bar, silent
from animepggan.corpus.decode import DecodeError
from animepggan.corpus.description import write_lines
from animepggan.corpus.faces.cutting import PICTURES, UNREADABLE, CropOptions, Task, cut_faces, decoded
from animepggan.corpus.faces.detector import Detector, open_detector
from animepggan.corpus.faces.face import Face
from animepggan.corpus.faces.rows import CROPS, REJECTS, Given
from animepggan.corpus.job import Record, foreign, open_record
from animepggan.corpus.names import printable
from animepggan.corpus.spec import READ_ERRORS, Entry, Source, resolve
from animepggan.corpus.worker import cores, serve
from animepggan.errors import DataError, ResourceError

RECORD = ".done.jsonl"

EDITION = 1
"""Raised whenever the same request cuts other crops."""

_AHEAD = 3  # pictures read ahead for each process


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


def crop(
    data: str | Source,
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

    Goes on where an earlier start with the same options ended; ModelError where the options are others or the detector
    cannot work, DataError where `output` holds anything else, lies in the corpus or no picture is there, BusyError
    where another process is cutting.
    """
    source = resolve(data) if isinstance(data, str) else data
    output = Path("data", f"{source.name}-faces") if output is None else Path(output).expanduser()
    options = CropOptions(size, loose, min_face, max_tilt, confidence)
    finder = _finder(options, detector, landmarks)
    _check(source, output, finder)
    entries = source.entries
    place = str(Path(source.base).resolve()) if Path(source.base).exists() else source.base
    request = {"edition": EDITION, "spec": place, "detector": finder.identity, **asdict(options)}
    with open_record(output / RECORD, "source") as record:
        _begin(output, record, request, restart)
        (output / PICTURES).mkdir(exist_ok=True)
        todo = [entry for entry in entries if not _is_done(entry, record, output)]
        left = record.names() - {entry.name for entry in entries}
        before = {file for name in (*left, *(entry.name for entry in todo)) for file in _files(record, name)}
        done = len(entries) - len(todo)
        bar("faces", done, len(entries))
        for line in _lines_of(todo, output, options, finder, workers):
            record.add(line)
            done += 1
            bar("faces", done, len(entries))
        gone = before - {file for entry in todo for file in _files(record, entry.name)}
        for file in gone:
            (output / file).unlink(missing_ok=True)
        counts = _conclude(output, entries, record)
    reasons = {name.partition(":")[2]: count for name, count in counts.most_common() if name.startswith("why:")}
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
        reasons=reasons,
    )


def crops(output: Path) -> Iterator[dict[str, Any]]:
    """The rows of a finished folder's `crops.jsonl`."""
    return _rows(output / CROPS)


def rejected(source: Source, output: Path, limit: int) -> Iterator[tuple[dict[str, Any], Image.Image]]:
    """The first `limit` rows of `rejects.jsonl` whose pictures can be opened, the likeliest faces first, each with what
    it is about: the surroundings of the face, or the whole picture.
    """
    entries = {entry.name: entry for entry in source.entries}
    rows = [row for row in _rows(output / REJECTS) if row["source"] in entries]
    rows.sort(key=lambda row: row.get("score", -1.0), reverse=True)
    shown = 0
    for row in rows:
        if shown == limit:
            return
        try:
            with entries[row["source"]].open() as file:
                image = decoded(file)
        except (DecodeError, *READ_ERRORS):
            continue
        if "box" in row:
            x0, y0, x1, y1 = row["box"]
            grow = (x1 - x0) / 2
            image = image.crop((round(x0 - grow), round(y0 - grow), round(x1 + grow), round(y1 + grow)))
        shown += 1
        yield row, image


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _finder(options: CropOptions, detector: str | Detector | None, landmarks: str | Path | None) -> Detector | Given:
    if landmarks is not None:
        return Given(Path(landmarks))
    if detector is None or isinstance(detector, str):
        return open_detector(detector, smallest=options.min_face, largest_tilt=options.max_tilt)
    return detector


def _check(source: Source, output: Path, finder: Detector | Given) -> None:
    """DataError where the crops would land in the corpus, or nothing can come of it."""
    base = Path(source.base)
    if base.is_dir() and output.resolve().is_relative_to(base.resolve()):
        raise DataError(
            f"{printable(str(output))} lies in {printable(str(base))}, whose next reading would find the crops there\n"
            "choose another --output"
        )
    if not source.entries:
        raise DataError(f"{printable(source.spec)} holds no pictures")
    if isinstance(finder, Given) and not any(entry.name in finder.faces for entry in source.entries):
        some = printable(next(iter(finder.faces)))
        raise DataError(
            f"no picture of {printable(source.spec)} is named in the landmarks file (it names {some})\n"
            "its `source` is the name of a picture relative to the SPEC"
        )


def _begin(output: Path, record: Record, request: dict[str, Any], restart: bool) -> None:
    """Check that `output` is new or ours and of the same request, which is noted."""
    shown = printable(str(output))
    if record.request is None and (others := foreign(output / RECORD)):
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


def _conclude(output: Path, entries: Sequence[Entry], record: Record) -> Counter[str]:
    """Write both lists from the record; how many there are of what, and `why:` faces were rejected."""
    counts: Counter[str] = Counter()
    order = ("file", "score", "box", "landmarks", "transform")

    def lines() -> Iterator[dict[str, Any]]:
        for entry in entries:
            line = record.get(entry.name)
            assert line is not None
            yield line

    def kept() -> Iterator[dict[str, Any]]:
        for line in lines():
            for face in line["faces"]:
                if "file" in face:
                    counts["crops"] += 1
                    yield {"source": line["source"], **{key: face[key] for key in order}}

    def left() -> Iterator[dict[str, Any]]:
        for line in lines():
            if "reason" in line:
                counts["unreadable" if line["reason"].startswith(UNREADABLE) else "without_face"] += 1
                yield {"source": line["source"], "reason": line["reason"]}
            for face in line["faces"]:
                if "reason" in face:
                    counts["rejected"] += 1
                    counts["why:" + face["reason"].partition(":")[0]] += 1
                    yield {"source": line["source"], **face}

    write_lines(output / CROPS, kept())
    write_lines(output / REJECTS, left())
    return counts


def _lines_of(
    entries: Sequence[Entry], output: Path, options: CropOptions, finder: Detector | Given, workers: int | None
) -> Iterator[dict[str, Any]]:
    """The record's line of every picture, as they get done."""
    given, detector = (finder.faces, None) if isinstance(finder, Given) else (None, finder)
    if workers is None:
        workers = cores() if detector is None or detector.in_processes else 0
    tasks = (_task(entry, given) for entry in entries)
    if workers == 0 or len(entries) < 2:
        for task in tasks:
            yield cut_faces(task, output, options, detector)
        return
    # Spawned, not forked: the caller may be running threads.
    context = multiprocessing.get_context("spawn")
    work = (output, options, None if detector is None else detector.name)
    with ProcessPoolExecutor(min(workers, len(entries)), context, _serve, work) as pool:
        pending: set[Future[dict[str, Any]]] = set()
        try:
            for task in tasks:
                pending.add(pool.submit(_do_here, task))
                if len(pending) >= workers * _AHEAD:
                    ready, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ready)
            while pending:
                ready, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ready)
        except BrokenProcessPool as error:
            raise ResourceError(
                "a process that looked for faces was ended from outside, most likely for want of memory\n"
                "run the same command again with fewer --workers; what is done is kept"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _task(entry: Entry, given: dict[str, list[Face]] | None) -> Task:
    data, problem = b"", None
    try:
        with entry.open() as file:
            data = file.read()
    except READ_ERRORS as error:
        problem = getattr(error, "strerror", None) or str(error)
    faces = None if given is None else tuple(given.get(entry.name, ()))
    return Task(entry.name, entry.stamp, data, problem, faces)


_here: tuple[Path, CropOptions, Detector | None] | None = None  # of a worker process


def _serve(output: Path, options: CropOptions, detector: str | None) -> None:
    """Begin a worker: it leaves interrupts to the process that started it, and ends when that one is gone."""
    global _here
    serve()
    found = None
    if detector is not None:
        found = open_detector(detector, smallest=options.min_face, largest_tilt=options.max_tilt)
    _here = output, options, found


def _do_here(task: Task) -> dict[str, Any]:
    assert _here is not None
    return cut_faces(task, *_here)
