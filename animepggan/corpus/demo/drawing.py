"""Drawing a planned corpus into a folder, in several processes.

    OUTPUT/pictures/000000.png ...   the pictures, and nothing else
    OUTPUT/manifest.csv              the truth: what each picture is, whom it shows, what it copies, where the face is
    OUTPUT/drawing.json              what was drawn; moved there last, so a folder with it is finished

All of it is made in a hidden folder and moved when it is whole: an interrupted drawing leaves nothing that could be
taken for a corpus, and the next one starts anew.
"""

from __future__ import annotations

import csv
import io
import json
import math
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from animepggan.bar import Bar, silent
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.picture import FaceTruth, compose
from animepggan.corpus.demo.sets import STRANGERS, Kind, PlannedPicture, general, of_heroine
from animepggan.corpus.worker import cores, serve
from animepggan.disk import PARTIAL, cache_folder, locked
from animepggan.errors import DataError

COUNTS: dict[Kind, int] = {"general": 8000, "yui": 4077, "second": 4077}
SIZE = 128
EDITION = 3
"""Raised whenever the same request draws other pictures."""
_LOCK, _RECORD = ".lock", "drawing.json"
_POINTS = ("eye_left_image", "eye_right_image", "nose", "mouth")
COLUMNS = ("file", "kind", "of", "how", "style", "character", "cluster", "box", *_POINTS)


@dataclass(frozen=True)
class Summary:
    """What a drawn folder holds."""

    folder: Path
    kind: Kind
    count: int  # pictures
    size: int  # pixels a side
    seed: int
    originals: int
    copies: int
    near: int
    strangers: int
    drawn: bool  # False: the folder held this very drawing already


def draw_demo(
    kind: Kind,
    output: Path,
    *,
    count: int | None = None,  # pictures; by default 8000 of `general`, 4077 of a heroine
    size: int = SIZE,  # pixels a side, 16 to 1024
    seed: int = 0,
    strangers: float = STRANGERS,  # share of a heroine's pictures that show others, 0 to 0.5
    others: int = 1,  # how many those are
    workers: int | None = None,  # processes; by default one a core
    bar: Bar = silent,
) -> Summary:
    """Draw a corpus into the folder `output`.

    What is drawn depends on what is asked for alone (and on the versions of the packages that draw). A folder that
    holds this very drawing is left as it is. Raises DataError where `output` holds anything else or the count cannot be
    met; BusyError where another process draws there.
    """
    count = COUNTS[kind] if count is None else count
    if count < 1 or not 16 <= size <= 1024:
        raise DataError(f"demo:{kind}: {count} pictures of {size} pixels: at least 1 picture, of 16 to 1024 pixels")
    request: dict[str, Any] = {"kind": kind, "count": count, "size": size, "seed": seed}
    request |= {} if kind == "general" else {"strangers": strangers, "others": others}
    request |= {"edition": EDITION, "packages": {name: version(name) for name in ("resvg-py", "pillow")}}
    try:
        output.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{output}: there is a file where the folder should be; choose another --output") from None
    with _alone(output):
        if (summary := finished(output, request)) is not None:
            return summary
        if foreign := sorted(path.name for path in output.iterdir() if path.name not in (PARTIAL, _LOCK)):
            raise DataError(
                f"{output}: not empty ({foreign[0]!r} is there), and not a finished drawing of the same request\n"
                "choose another --output, or delete that folder"
            )
        plan = general(seed, count) if kind == "general" else of_heroine(kind, seed, count, strangers, others)
        return _draw(plan, output, request, workers, bar)


def cached(kind: Kind, *, bar: Bar = silent) -> Path:
    """The folder of the default corpus of `kind` in the cache: 128 pixels a side, seed 0. Drawn on first use.

    Of several processes that ask at once, one draws and the others wait. Raises what `draw_demo` raises.
    """
    folder = cache_folder() / "demo" / f"{kind}-{COUNTS[kind]}x{SIZE}-seed0-edition{EDITION}"
    if finished(folder) is None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_suffix(".lock")):
            if finished(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)  # ours, and no longer whole
                draw_demo(kind, folder, bar=bar)
    return folder


def finished(output: Path, request: dict[str, Any] | None = None) -> Summary | None:
    """What `output` holds if a drawing was finished there, and of `request` if one is given; else None."""
    try:
        record = json.loads((output / _RECORD).read_text(encoding="utf-8"))
        with (output / "manifest.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        there = {f"pictures/{path.name}" for path in (output / "pictures").iterdir()}
        complete = there == {row["file"] for row in rows} and len(rows) == record["count"]
        summary = _summary(output, record, [row["kind"] for row in rows], drawn=False)
    except (OSError, ValueError, KeyError, TypeError):  # not there, not whole, or not ours
        return None
    return summary if complete and request in (None, record) else None


def _draw(plan: list[PlannedPicture], output: Path, request: dict[str, Any], workers: int | None, bar: Bar) -> Summary:
    draft, rows = output / PARTIAL, list[list[str]]()
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "pictures").mkdir(parents=True)
    try:
        files = {picture.number: f"pictures/{file_name(picture)}" for picture in plan}
        for faces in _in_processes(partial(_draw_chunk, draft / "pictures", request["size"]), plan, workers):
            rows += [_row(*pair, files) for pair in zip(plan[len(rows) :], faces, strict=False)]
            bar(f"drawing demo:{request['kind']}", len(rows), len(plan))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *sorted(rows)])
        for name, content in (("manifest.csv", text.getvalue()), (_RECORD, json.dumps(request, indent=2) + "\n")):
            (draft / name).write_text(content, encoding="utf-8", newline="")
        for name in ("pictures", "manifest.csv", _RECORD):
            (draft / name).replace(output / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return _summary(output, request, [row[1] for row in rows], drawn=True)


def _row(picture: PlannedPicture, face: FaceTruth, files: dict[int, str]) -> list[str]:
    """A line of the manifest.

    file; kind: original, copy, near, stranger; of: the original that it copies; how: reencoded, resized, shifted,
    feature: what makes a near copy; style; character; cluster: a number that copies and near copies share with their
    original; box of the face "x0 y0 x1 y1" and landmarks "x y" in pixels of that file.
    """
    of, cluster = ("", picture.number) if picture.of is None else (files[picture.of], picture.of)
    numbers = (face.box, *(face.landmarks[name] for name in _POINTS))
    told = [" ".join(f"{value:.1f}" for value in values) for values in numbers]
    c = picture.character
    return [files[picture.number], picture.kind, of, picture.how or "", c.style.name, c.name, str(cluster), *told]


def file_name(picture: PlannedPicture) -> str:
    """Plain numbers, so that neither name nor order tells what a picture is."""
    return f"{picture.number:06d}.{'jpg' if picture.how == 'reencoded' else 'png'}"


def encode(picture: PlannedPicture, size: int) -> tuple[bytes, FaceTruth]:
    """The file of a picture, RGB, `size` pixels a side unless it is a resized near copy; where the face is in it."""
    dice, file = Dice("encode", picture.index), io.BytesIO()
    grain = picture.index if picture.of is None or picture.how == "feature" else picture.of
    image, (face,) = compose([picture.placed], picture.scene, size, size, seed=grain)
    if picture.how == "shifted":  # by whole pixels, rounded away from zero
        right, down = (int(math.copysign(math.ceil(abs(share) * size), share)) for share in picture.shift)
        room = max(abs(right), abs(down))
        padded = np.pad(np.asarray(image), ((room, room), (room, room), (0, 0)), mode="edge")
        image = Image.fromarray(padded[room - down : room - down + size, room - right : room - right + size])
        face = face.moved(1.0, right, down)
    if picture.how == "reencoded":
        image.save(file, "JPEG", quality=70 + dice.number(21))
        return file.getvalue(), face
    if picture.how == "resized":
        side = round(size * (dice.between(0.7, 0.9) if dice.chance(0.5) else dice.between(1.2, 1.6)))
        image, face = image.resize((side, side), Image.Resampling.LANCZOS), face.moved(side / size)
    # Copies are the same pixels; half of them are the same file too.
    image.save(file, "PNG", compress_level=6 if picture.kind == "copy" and dice.chance(0.5) else 1)
    return file.getvalue(), face


def _draw_chunk(folder: Path, size: int, pictures: list[PlannedPicture]) -> list[FaceTruth]:
    faces = []
    for picture in pictures:
        content, face = encode(picture, size)
        (folder / file_name(picture)).write_bytes(content)
        faces.append(face)
    return faces


def _in_processes(
    work: Callable[[list[PlannedPicture]], list[FaceTruth]], plan: list[PlannedPicture], workers: int | None
) -> Iterator[list[FaceTruth]]:
    """`work` on chunks of the plan: in this process where one worker will do, else in spawned ones."""
    chunks = [plan[start : start + 16] for start in range(0, len(plan), 16)]
    workers = min(workers or cores(), len(chunks))
    if workers <= 1:
        yield from map(work, chunks)
        return
    # Spawned, not forked: the caller may be running torch's threads.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), serve) as pool:
        try:
            yield from pool.map(work, chunks)
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold `output` against other processes."""
    with locked(output / _LOCK, f"{output}: another process is drawing there; wait for it, or choose another --output"):
        try:
            yield
        finally:
            (output / _LOCK).unlink(missing_ok=True)


def _summary(output: Path, record: dict[str, Any], kinds: list[str], *, drawn: bool) -> Summary:
    original, copy, near, strange = (kinds.count(kind) for kind in ("original", "copy", "near", "stranger"))
    kind, count, size, seed = record["kind"], len(kinds), record["size"], record["seed"]
    return Summary(output, kind, count, size, seed, original, copy, near, strange, drawn)
