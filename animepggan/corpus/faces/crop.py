"""Cutting the faces of a SPEC into a folder, in several processes, so that it can be stopped and gone on with.

    OUTPUT/pictures/NAME-HASH-1.png ...   the crops, and nothing else
    OUTPUT/crops.jsonl                    a line a crop, in the order of the corpus
    OUTPUT/rejects.jsonl                  faces left out, pictures without any, unreadable ones: each with its reason
    OUTPUT/crop.json                      what was asked for
    OUTPUT/.journal.jsonl                 a line a picture that is done, written as it is; what a second start goes by

The two lists are made of the journal at the end. A picture is done again when it has changed (`Entry.stamp`) or when a
crop of it is gone; those of pictures that have left the corpus are removed.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from filelock import FileLock, Timeout
from PIL import Image

from animepggan.corpus.decode import DecodeError, open_picture
from animepggan.corpus.description import write_lines
from animepggan.corpus.faces.align import Square, cut, square_of
from animepggan.corpus.faces.detector import Detector, open_detector
from animepggan.corpus.faces.face import Face
from animepggan.corpus.faces.rows import CROPS, REJECTS, Given, face_values
from animepggan.corpus.names import json_line, printable
from animepggan.corpus.spec import READ_ERRORS, Entry, Source
from animepggan.corpus.worker import cores, serve
from animepggan.errors import BusyError, DataError, ModelError, ResourceError

PICTURES = "pictures"
_RECORD, _JOURNAL, _LOCK = "crop.json", ".journal.jsonl", ".lock"

NO_FACE, UNREADABLE = "no face found", "unreadable"
"""How the reasons of rows without a face begin."""

EDITION = 1
"""Raised whenever the same request cuts other crops."""

_INSIDE = 0.5  # share of a crop that the picture has to fill; the rest would be mirrored
_AHEAD = 3  # pictures read ahead for each process


@dataclass(frozen=True)
class Options:
    """What is cut, and what is left out."""

    size: int = 256  # pixels, side of a crop
    loose: float = 1.0  # times the side that alignment gives a crop
    min_face: float = 80.0  # pixels, width of a face without its hair
    max_tilt: float = 35.0  # degrees
    confidence: float = 0.85  # 0 to 1, the least score


@dataclass(frozen=True)
class Summary:
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


@dataclass(frozen=True)
class _Task:
    """One picture for a worker."""

    name: str
    data: bytes
    faces: tuple[Face, ...] | None  # None: find them


@dataclass(frozen=True)
class _Work:
    """What all pictures have in common. Goes to worker processes, so the detector stands here by its name."""

    output: Path
    options: Options
    detector: str | None  # None: the faces are given


def crop(
    source: Source,
    output: Path,
    options: Options,
    detector: Detector | Given,
    *,
    workers: int | None = None,  # processes; None: one a core where the detector gains by it; 0: this one
    restart: bool = False,  # throw away what an earlier start left in `output`
    progress: Callable[[int, int], object] | None = None,  # called with the pictures done and those of the corpus
) -> Summary:
    """Find, align and cut the faces of every picture of `source` into the folder `output`.

    Goes on where an earlier start with the same options ended; ModelError where the options are others, DataError where
    `output` holds anything else, lies in the corpus or no picture is there, BusyError where another process is cutting.
    """
    _check_place(source, output)
    entries = source.entries
    if not entries:
        raise DataError(f"{printable(source.spec)} holds no pictures")
    given = detector if isinstance(detector, Given) else None
    if given is not None and not any(entry.name in given.faces for entry in entries):
        some = printable(next(iter(given.faces)))
        raise DataError(
            f"no picture of {printable(source.spec)} is named in the landmarks file (it names {some})\n"
            "its `source` is the name of a picture relative to the SPEC"
        )
    record = {"edition": EDITION, "spec": _place_of(source), "detector": detector.identity, **asdict(options)}
    with _alone(output):
        _begin(output, record, restart)
        (output / PICTURES).mkdir(exist_ok=True)
        journal = _Journal(output / _JOURNAL)
        todo = [entry for entry in entries if not journal.has(entry, output)]
        before = {file for entry in todo for file in journal.files(entry.name)} | journal.files_of_others(entries)
        done = len(entries) - len(todo)
        if progress is not None and done:
            progress(done, len(entries))
        work = _Work(output, options, None if isinstance(detector, Given) else detector.name)
        with journal:
            for line in _each(todo, work, detector, workers):
                journal.add(line)
                done += 1
                if progress is not None:
                    progress(done, len(entries))
        now = {file for entry in todo for file in journal.files(entry.name)}
        for file in before - now:
            (output / file).unlink(missing_ok=True)
        counts = _conclude(output, entries, journal)
        return Summary(
            output=output,
            detector=detector.identity,
            pictures=len(entries),
            done=len(todo),
            crops=counts["crops"],
            rejected=counts["rejected"],
            without_face=counts["without_face"],
            unreadable=counts["unreadable"],
            removed=len(before - now),
            reasons=dict(counts.reasons.most_common()),
        )


def name_of(source: str) -> str:
    """The name of a crop without its number: readable, and no two of different sources are equal.

    `part/ep 01.png` becomes `ep-01-` and ten digits of the whole name's hash.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePosixPath(source).stem).strip("-.")[:80]
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{stem}-{digest}" if stem else digest


def reject_reason(face: Face, image_size: tuple[int, int], options: Options) -> str | None:
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


def rejected(source: Source, output: Path, limit: int) -> Iterator[tuple[dict[str, Any], Image.Image]]:
    """The first `limit` rows of `rejects.jsonl` whose pictures can be opened, the likeliest faces first, each with what
    it is about: the surroundings of the face, or the whole picture.
    """
    entries = {entry.name: entry for entry in source.entries}
    rows = [row for row in _lines(output / REJECTS) if row["source"] in entries]
    rows.sort(key=lambda row: row.get("score", -1.0), reverse=True)
    shown = 0
    for row in rows:
        if shown == limit:
            return
        try:
            with entries[row["source"]].open() as file:
                image = _decoded(file)
        except (DecodeError, *READ_ERRORS):
            continue
        if "box" in row:
            x0, y0, x1, y1 = row["box"]
            grow = (x1 - x0) / 2
            image = image.crop((round(x0 - grow), round(y0 - grow), round(x1 + grow), round(y1 + grow)))
        shown += 1
        yield row, image


def crops(output: Path) -> Iterator[dict[str, Any]]:
    """The rows of a finished folder's `crops.jsonl`."""
    return _lines(output / CROPS)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _decoded(file: BinaryIO) -> Image.Image:
    with warnings.catch_warnings():  # Pillow warns on standard error about oddities of files
        warnings.filterwarnings("ignore", module=r"PIL\.")
        return open_picture(file).image


def _share_inside(square: Square, image_size: tuple[int, int]) -> float:
    """How much of a square lies in the picture: 0 to 1, by a grid of points in it."""
    count = 24
    matrix = square.from_crop(count)
    width, height = image_size
    inside = 0
    for row in range(count):
        for column in range(count):
            x, y = matrix @ (column + 0.5, row + 0.5, 1.0)
            inside += bool(0 <= x < width and 0 <= y < height)
    return inside / count**2


def _check_place(source: Source, output: Path) -> None:
    base = Path(source.base)
    if base.is_dir() and output.resolve().is_relative_to(base.resolve()):
        raise DataError(
            f"{printable(str(output))} lies in {printable(str(base))}, whose next reading would find the crops there\n"
            "choose another --output"
        )


def _place_of(source: Source) -> str:
    """The SPEC, so that it is the same from every folder it is named from."""
    return str(Path(source.base).resolve()) if Path(source.base).exists() else source.base


def _begin(output: Path, record: dict[str, Any], restart: bool) -> None:
    """Check that `output` is new or ours and of the same request; write down what is asked for."""
    try:
        before = json.loads((output / _RECORD).read_text(encoding="utf-8"))
        if not isinstance(before, dict):
            before = None
    except (OSError, ValueError):
        before = None
    if before is None:
        foreign = sorted(path.name for path in output.iterdir() if path.name not in (_LOCK, _RECORD))
        if foreign:
            raise DataError(
                f"{printable(str(output))}: not empty ({printable(foreign[0])} is there), and not cut by data crop\n"
                "choose another --output, or delete that folder"
            )
    elif restart:
        journal = _Journal(output / _JOURNAL)
        for file in journal.files_of_others(()):
            (output / file).unlink(missing_ok=True)
        (output / _JOURNAL).unlink(missing_ok=True)
    elif before != record:
        changed = [key for key in sorted({*before, *record}) if before.get(key) != record.get(key)]
        diff = "; ".join(f"{key} {_shown(before.get(key))}, now {_shown(record.get(key))}" for key in changed)
        raise ModelError(
            f"{printable(str(output))} was cut with other options: {diff}\n"
            "choose another --output, or --restart to cut it all anew; "
            f"--landmarks {printable(str(output))} spares the search"
        )
    partial = output / (_RECORD + ".partial")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(output / _RECORD)


def _shown(value: object) -> str:
    return "nothing" if value is None else printable(str(value))


class _Journal:
    """What is done: `stamp` and the place of the line of every picture; the lines themselves stay on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[int, int]] = {}  # name: stamp, offset of its last line
        end = 0
        if path.exists():
            with path.open("rb") as file:
                for text in file:
                    try:
                        line = json.loads(text)
                        self._known[line["source"]] = (line["stamp"], end)
                    except (ValueError, KeyError, TypeError):  # cut short: the last start was killed
                        pass
                    end += len(text)
        self._file: BinaryIO | None = None

    def __enter__(self) -> None:
        self._file = self._path.open("ab")
        self._file.seek(0, os.SEEK_END)
        if self._file.tell() and not self._ends_well():
            self._file.write(b"\n")

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()
        self._file = None

    def _ends_well(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def add(self, line: dict[str, Any]) -> None:
        assert self._file is not None
        self._known[line["source"]] = (line["stamp"], self._file.tell())
        self._file.write(json_line(line).encode())
        self._file.flush()

    def line(self, name: str) -> dict[str, Any]:
        """What was noted of a picture last."""
        with self._path.open("rb") as file:
            file.seek(self._known[name][1])
            line: dict[str, Any] = json.loads(file.readline())
            return line

    def lines(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        with self._path.open("rb") as file:
            for name in names:
                file.seek(self._known[name][1])
                yield json.loads(file.readline())

    def has(self, entry: Entry, output: Path) -> bool:
        """Whether a picture is done, as it is now, and its crops are there."""
        if self._known.get(entry.name, (None, 0))[0] != entry.stamp:
            return False
        return all((output / file).is_file() for file in self.files(entry.name))

    def files(self, name: str) -> set[str]:
        """The crops of a picture, relative to the output."""
        if name not in self._known:
            return set()
        return {face["file"] for face in self.line(name)["faces"] if "file" in face}

    def files_of_others(self, entries: Sequence[Entry]) -> set[str]:
        """The crops of the pictures that are none of `entries`."""
        return {file for name in self._known.keys() - {entry.name for entry in entries} for file in self.files(name)}


class _Counts(Counter[str]):
    """crops, rejected, without_face, unreadable; and why faces were rejected."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: Counter[str] = Counter()


def _conclude(output: Path, entries: Sequence[Entry], journal: _Journal) -> _Counts:
    """Write both lists from the journal."""
    counts = _Counts()
    names = [entry.name for entry in entries]

    def kept() -> Iterator[dict[str, Any]]:
        for line in journal.lines(names):
            for face in line["faces"]:
                if "file" in face:
                    counts["crops"] += 1
                    order = ("file", "score", "box", "landmarks", "transform")
                    yield {"source": line["source"], **{key: face[key] for key in order}}

    def left() -> Iterator[dict[str, Any]]:
        for line in journal.lines(names):
            if "reason" in line:
                counts["unreadable" if line["reason"].startswith(UNREADABLE) else "without_face"] += 1
                yield {"source": line["source"], "reason": line["reason"]}
            for face in line["faces"]:
                if "reason" in face:
                    counts["rejected"] += 1
                    counts.reasons[face["reason"].partition(":")[0]] += 1
                    yield {"source": line["source"], **face}

    write_lines(output / CROPS, kept())
    write_lines(output / REJECTS, left())
    return counts


def _each(
    entries: Sequence[Entry], work: _Work, detector: Detector | Given, workers: int | None
) -> Iterator[dict[str, Any]]:
    """The journal's line of every picture, as they get done."""
    given = detector.faces if isinstance(detector, Given) else None
    if workers is None:
        many = given is not None or (not isinstance(detector, Given) and detector.in_processes)
        workers = cores() if many else 0

    def task(entry: Entry) -> _Task | dict[str, Any]:
        try:
            with entry.open() as file:
                data = file.read()
        except READ_ERRORS as error:
            reason = getattr(error, "strerror", None) or str(error)
            return {"source": entry.name, "reason": f"{UNREADABLE}: {reason}", "faces": []}
        faces = None if given is None else tuple(given.get(entry.name, ()))
        return _Task(entry.name, data, faces)

    if workers == 0 or len(entries) < 2:
        finder = None if isinstance(detector, Given) else detector
        for entry in entries:
            this = task(entry)
            line = this if isinstance(this, dict) else _do(this, work, finder)
            yield {**line, "stamp": entry.stamp}
        return
    # Spawned, not forked: the caller may be running threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(entries)), context, _serve, (work,)) as pool:
        pending: dict[Future[dict[str, Any]], Entry] = {}
        try:
            for entry in entries:
                this = task(entry)
                if isinstance(this, dict):
                    yield {**this, "stamp": entry.stamp}
                    continue
                pending[pool.submit(_do_here, this)] = entry
                if len(pending) >= workers * _AHEAD:
                    yield from _finished(pending)
            while pending:
                yield from _finished(pending)
        except BrokenProcessPool as error:
            raise ResourceError(
                "a process that looked for faces was ended from outside, most likely for want of memory\n"
                "run the same command again with fewer --workers; what is done is kept"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _finished(pending: dict[Future[dict[str, Any]], Entry]) -> Iterator[dict[str, Any]]:
    """The lines of those that are done, at least one; they leave `pending`."""
    ready, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in ready:
        entry = pending.pop(future)
        yield {**future.result(), "stamp": entry.stamp}


_here: tuple[_Work, Detector | None] | None = None  # of a worker process


def _serve(work: _Work) -> None:
    """Begin a worker: it leaves interrupts to the process that started it, and ends when that one is gone."""
    global _here
    serve()
    detector = None
    if work.detector is not None:
        options = work.options
        detector = open_detector(work.detector, smallest=options.min_face, largest_tilt=options.max_tilt)
    _here = work, detector


def _do_here(task: _Task) -> dict[str, Any]:
    assert _here is not None
    return _do(task, *_here)


def _do(task: _Task, work: _Work, detector: Detector | None) -> dict[str, Any]:
    """Find and cut the faces of one picture; the journal's line, without the stamp."""
    try:
        image = _decoded(BytesIO(task.data))
    except DecodeError as error:
        return {"source": task.name, "reason": f"{UNREADABLE}: {error}", "faces": []}
    if task.faces is not None:
        found = list(task.faces)
    else:
        assert detector is not None
        found = detector.find(image)
    if not found:
        return {"source": task.name, "reason": NO_FACE, "faces": []}
    found.sort(key=lambda face: (face.box[0], face.box[1]))
    rows = [_cut_one(image, face, f"{name_of(task.name)}-{number}", work) for number, face in enumerate(found, 1)]
    return {"source": task.name, "faces": rows}


def _cut_one(image: Image.Image, face: Face, name: str, work: _Work) -> dict[str, Any]:
    values = face_values(face)
    if reason := reject_reason(face, image.size, work.options):
        return {**values, "reason": reason}
    size = work.options.size
    square = square_of(face.landmarks, work.options.loose)
    file = f"{PICTURES}/{name}.png"
    partial = work.output / PICTURES / f".{name}.partial"
    cut(image, square, size).save(partial, "PNG")
    partial.replace(work.output / file)
    transform = [[round(value, 6) for value in row] for row in square.to_crop(size).tolist()]
    return {"file": file, **values, "transform": transform}


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold `output` against other processes."""
    shown = printable(str(output))
    try:
        output.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{shown}: there is a file where the folder should be; choose another --output") from None
    lock = FileLock(output / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(f"{shown}: another process is cutting there; wait for it, or choose another --output") from None
    try:
        yield
    finally:
        (output / _LOCK).unlink(missing_ok=True)
        lock.release()
