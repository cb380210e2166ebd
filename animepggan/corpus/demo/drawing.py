"""Drawing a planned corpus into a folder, in several processes.

    OUTPUT/pictures/000000.png ...   the pictures, and nothing else
    OUTPUT/manifest.csv              the truth: what each picture is, and what it copies
    OUTPUT/CREDITS.md                the artists and licenses of the styles
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
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast

from filelock import FileLock, Timeout
from PIL import Image

from animepggan.corpus.demo.credits import credits
from animepggan.corpus.demo.dice import Dice
from animepggan.corpus.demo.plan import Kind, Picture, general, of_yui
from animepggan.corpus.demo.styles import missing_extra, render, shifted
from animepggan.corpus.worker import serve
from animepggan.errors import BusyError, DataError

COUNTS: dict[Kind, int] = {"general": 8000, "yui": 4077}
SIZE = 128

EDITION = 1
"""Raised whenever the same request draws other pictures."""
_PACKAGES = ("dicebear-core", "dicebear-styles", "resvg-py", "pillow")
_PARTIAL, _LOCK, _RECORD = ".partial", ".lock", "drawing.json"


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


def draw(
    kind: Kind,
    output: Path,
    *,
    count: int | None = None,  # pictures; by default 8000 of `general`, 4077 of `yui`
    size: int = SIZE,  # pixels a side, 16 to 1024
    seed: int = 0,
    workers: int | None = None,  # processes; by default one a core
    progress: Callable[[int], object] | None = None,  # called with the number of pictures done, now and then
) -> Summary:
    """Draw a corpus into the folder `output`.

    What is drawn depends on `kind`, `count`, `size` and `seed` alone (and on the versions of the packages that draw).
    A folder that holds this very drawing is left as it is. Raises DataError where `output` holds anything else, where
    the `demo` extra is missing or the count cannot be met; BusyError where another process draws there.
    """
    count = COUNTS[kind] if count is None else count
    if count < 1 or not 16 <= size <= 1024:
        raise DataError(f"demo:{kind}: {count} pictures of {size} pixels: at least 1 picture, of 16 to 1024 pixels")
    request: dict[str, object] = {
        "kind": kind,
        "count": count,
        "size": size,
        "seed": seed,
        "edition": EDITION,
        "packages": _versions(),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{output}: there is a file where the folder should be; choose another --output") from None
    with _alone(output):
        if (summary := finished(output, request)) is not None:
            return summary
        foreign = sorted(path.name for path in output.iterdir() if path.name not in (_PARTIAL, _LOCK))
        if foreign:
            raise DataError(
                f"{output}: not empty ({foreign[0]!r} is there), and not a finished drawing of the same request\n"
                "choose another --output, or delete that folder"
            )
        plan = general(seed, count) if kind == "general" else of_yui(seed, count)
        return _draw(plan, output, request, workers, progress)


def finished(output: Path, request: dict[str, object] | None = None) -> Summary | None:
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


def _draw(
    plan: list[Picture],
    output: Path,
    request: dict[str, object],
    workers: int | None,
    progress: Callable[[int], object] | None,
) -> Summary:
    size = cast(int, request["size"])
    draft = output / _PARTIAL
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "pictures").mkdir(parents=True)
    try:
        done = 0
        for drawn in _in_processes(partial(_draw_chunk, draft / "pictures", size), plan, workers):
            done += drawn
            if progress is not None:
                progress(done)
        ordered = sorted(plan, key=lambda picture: picture.number)
        for name, text in (
            ("CREDITS.md", credits(sorted({picture.look.style for picture in plan}))),
            ("manifest.csv", manifest(ordered)),
            (_RECORD, json.dumps(request, indent=2) + "\n"),
        ):
            (draft / name).write_text(text, encoding="utf-8", newline="")
        for name in ("pictures", "CREDITS.md", "manifest.csv", _RECORD):
            (draft / name).replace(output / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return _summary(output, request, [picture.kind for picture in ordered], drawn=True)


def manifest(plan: list[Picture]) -> str:
    """The truth as CSV, a line a picture in the order given.

    Columns: file, kind (original, copy, near, stranger), of (the original that it copies), how (reencoded, resized,
    shifted, feature: what makes a near copy), style, character.
    """
    files = {picture.number: f"pictures/{file_name(picture)}" for picture in plan}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "kind", "of", "how", "style", "character"])
    for picture in plan:
        of = "" if picture.of is None else files[picture.of]
        style_name = picture.look.style
        writer.writerow([files[picture.number], picture.kind, of, picture.how or "", style_name, picture.character])
    return text.getvalue()


def file_name(picture: Picture) -> str:
    """Plain numbers, so that neither name nor order tells what a picture is."""
    return f"{picture.number:06d}.{'jpg' if picture.how == 'reencoded' else 'png'}"


def encode(picture: Picture, size: int) -> bytes:
    """The file of a picture: RGB without transparency, `size` pixels a side unless it is a resized near copy."""
    dice = Dice("encode", picture.index)
    look = shifted(picture.look, (_whole_pixels(picture.shift[0], size), _whole_pixels(picture.shift[1], size)))
    image = Image.fromarray(render(look, size))
    file = io.BytesIO()
    if picture.how == "reencoded":
        image.save(file, "JPEG", quality=70 + dice.number(21))
        return file.getvalue()
    if picture.how == "resized":
        factor = dice.between(0.7, 0.9) if dice.share() < 0.5 else dice.between(1.2, 1.6)
        side = round(size * factor)
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    # Copies are the same pixels; half of them are the same file too.
    image.save(file, "PNG", compress_level=1 if picture.kind == "copy" and dice.share() < 0.5 else 6)
    return file.getvalue()


def _whole_pixels(share: float, size: int) -> float:
    """A shift rounded away from zero to whole pixels, as a share of the side again."""
    return math.copysign(math.ceil(abs(share) * size), share) / size


def _draw_chunk(folder: Path, size: int, pictures: list[Picture]) -> int:
    for picture in pictures:
        (folder / file_name(picture)).write_bytes(encode(picture, size))
    return len(pictures)


def _in_processes(
    work: Callable[[list[Picture]], int], plan: list[Picture], workers: int | None, chunk: int = 16
) -> Iterator[int]:
    """`work` on chunks of the plan: in this process where one worker will do, else in spawned ones."""
    chunks = [plan[start : start + chunk] for start in range(0, len(plan), chunk)]
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    if workers <= 1:
        yield from map(work, chunks)
        return
    # Spawned, not forked: the caller may be running torch's threads.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), serve) as pool:
        futures = [pool.submit(work, part) for part in chunks]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold `output` against other processes."""
    lock = FileLock(output / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(
            f"{output}: another process is drawing there; wait for it, or choose another --output"
        ) from None
    try:
        yield
    finally:
        (output / _LOCK).unlink(missing_ok=True)
        lock.release()


def _versions() -> dict[str, str]:
    try:
        return {name: version(name) for name in _PACKAGES}
    except PackageNotFoundError as error:
        raise missing_extra(error) from error


def _summary(output: Path, record: dict[str, object], kinds: Sequence[str], *, drawn: bool) -> Summary:
    return Summary(
        folder=output,
        kind=cast(Kind, record["kind"]),
        count=len(kinds),
        size=cast(int, record["size"]),
        seed=cast(int, record["seed"]),
        originals=kinds.count("original"),
        copies=kinds.count("copy"),
        near=kinds.count("near"),
        strangers=kinds.count("stranger"),
        drawn=drawn,
    )
