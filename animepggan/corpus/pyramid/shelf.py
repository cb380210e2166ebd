"""Finds a source's pyramid in the cache, and has it built or brought up to date where it is not what the source is."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from numpy.typing import NDArray

from animepggan.corpus.names import printable
from animepggan.corpus.pyramid.build import Progress, Say, build
from animepggan.corpus.pyramid.clusters import Clusters
from animepggan.corpus.pyramid.disk import writing
from animepggan.corpus.pyramid.identity import identify
from animepggan.corpus.pyramid.index import FILE, FORMAT, Index, Names, levels_of, open_level
from animepggan.corpus.pyramid.levels import DAMAGED, Level, Pixels, Shape, rows_of_chunk
from animepggan.corpus.spec import TAKES, Bad, Source
from animepggan.errors import DataError, RecipeError

BUDGET = "ANIMEPGGAN_PYRAMID_GB"
"""Names how much disk the arrays of one pyramid may take, in GB; levels above 128 px beyond that are encoded."""
DEFAULT_BUDGET_GB = 64.0
_SCHEME = re.compile(r"(demo|hub):")


class Pyramid:
    """The pictures of a source at several sides, read-only; any number of processes may read one."""

    def __init__(self, folder: Path, index: Index, *, keep: object = None) -> None:
        """OSError or ValueError where a level is gone or too short."""
        self.folder = folder
        self._keep = keep  # lives as long
        self._index = index
        self._levels = levels_of(folder, index)
        for level in self._levels:
            open_level(index, level)
        self._rows = index["rows"]
        self.clusters = Clusters(index["members"], index["starts"], index["shares"]) if "members" in index else None

    @property
    def names(self) -> Names:
        return self._index.names

    @cached_property
    def bad(self) -> list[Bad]:
        return [bad for bad, _, _ in self._index.bad]

    @cached_property
    def skipped(self) -> list[Bad]:
        return self._index.skipped

    @property
    def bad_count(self) -> int:
        return int(self._index.facts["bad"])

    def identity(self, side: int) -> tuple[str, int]:
        """Fingerprint of the pictures at the side of a level, and how many are distinct; worked out once a level."""
        facts = self._index.facts
        top = str(facts["fingerprint"]), int(facts["distinct"])
        if side == self.side:
            return top
        path = self.folder / f"identity-{side:04d}.json"
        with suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(path.read_text(encoding="utf-8"))
            if known["top"] == top[0]:
                return str(known["fingerprint"]), int(known["distinct"])
        fingerprint, distinct = identify(self.names, lambda pictures: self.take(pictures, side), self.clusters)
        with suppress(OSError):  # a cache that is only read
            partial = path.with_name(f".{os.getpid()}.partial")
            known = {"top": top[0], "fingerprint": fingerprint, "distinct": distinct}
            partial.write_text(json.dumps(known), encoding="utf-8")
            partial.replace(path)
        return fingerprint, distinct

    @property
    def side(self) -> int:
        """Pixels, of the top level."""
        return self._levels[0].side

    @property
    def sides(self) -> list[int]:
        """Pixels, from the top level down."""
        return [level.side for level in self._levels]

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._rows)

    def take(self, pictures: NDArray[Any], side: int) -> Pixels:
        """These pictures at the side of a level: uint8 `[n, side, side, 3]`, a copy."""
        return self._level(side).take(self._rows[pictures])

    def cut(self, picture: int, x: int, y: int, side: int) -> Pixels:
        """A square of a picture at the top level: uint8 `[side, side, 3]`."""
        return self._levels[0].cut(int(self._rows[picture]), x, y, side)

    def ahead(self, pictures: NDArray[Any], side: int) -> None:
        """Say which pictures will be taken next, so that they are read or decoded meanwhile."""
        self._level(side).ahead(self._rows[pictures])

    def _level(self, side: int) -> Level:
        return next(level for level in self._levels if level.side == side)


def open_pyramid(
    source: Source,
    *,
    side: int,  # pixels, of the top level
    halved: bool = True,  # levels below it, too
    background: tuple[int, int, int] = (255, 255, 255),  # under transparent pictures
    workers: int | None = None,  # threads that decode; 0: the calling one; None: one a core
    budget: int | None = None,  # bytes of disk for its arrays; None: as the environment says
    progress: Progress | None = None,
    say: Say = lambda text: None,
) -> Pyramid:
    """The pyramid of a source, from the cache where the source has not changed.

    Where it has, `say` is told what is new, gone and changed, and only that is decoded. Of several processes that ask
    for the same one, one builds and the others wait. Raises DataError where there are no pictures, ResourceError where
    the cache is full or cannot be written, RecipeError where the budget is no number.
    """
    shape = Shape(side, halved, background)
    budget = _budget() if budget is None else budget
    build_into: dict[str, Any] = {"workers": workers, "progress": progress, "say": say, "budget": budget}
    if not _is_known_by_stamp(source):
        _require_pictures(source)
        keep = tempfile.TemporaryDirectory(prefix="animepggan-pyramid-")
        folder = Path(keep.name) / "pyramid"
        build(folder, source, "", shape, None, check=False, **build_into)
        return Pyramid(folder, Index(folder / FILE), keep=keep)
    stamp = source.stamp
    folder = place_of(source, shape)
    if (pyramid := _as_it_is(folder, stamp)) is not None:
        return pyramid
    _require_pictures(source)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f"{folder.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"{printable(source.spec)}: another process is decoding it into {folder}; waiting")
            lock.acquire()
    try:
        if (pyramid := _as_it_is(folder, stamp)) is not None:
            return pyramid
        check = (folder / DAMAGED).exists()
        found = _index(folder)
        if check and found is not None and not found.is_sound():
            found = None
        build(folder, source, stamp, shape, found, check=check, **build_into)
        return Pyramid(folder, Index(folder / FILE))
    finally:
        lock.release()


def place_of(source: Source, shape: Shape) -> Path:
    """The folder of a source's pyramid, there or not."""
    from animepggan.corpus.demo.cache import cache_folder

    if source.sign is None:  # a selection: known by what it holds
        what = f"selection {source.stamp}"
    elif _SCHEME.match(source.spec):
        what = source.spec
    else:
        what = os.path.realpath(os.path.expanduser(source.spec))  # noqa: PTH111 (Path's raises for an unknown user)
    key = json.dumps([FORMAT, what, shape.side, shape.halved, shape.background, rows_of_chunk(shape.side)])
    short = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_folder() / "pyramids" / f"{source.name[:40]}-{shape.side}px-{short}"


def _is_known_by_stamp(source: Source) -> bool:
    """Whether another stamp would show that a picture has changed."""
    return source.sign is not None or all(entry.stamp for entry in source.entries)


def _as_it_is(folder: Path, stamp: str) -> Pyramid | None:
    """The pyramid that is there, when it is whole and of this stamp."""
    found = _index(folder)
    if found is None or found.facts["stamp"] != stamp or found.facts["passing"] or (folder / DAMAGED).exists():
        return None
    try:
        return Pyramid(folder, found)
    except (OSError, ValueError):
        return None


def _index(folder: Path) -> Index | None:
    try:
        return Index(folder / FILE)
    except (OSError, ValueError):  # missing, damaged, or of another format
        return None


def _budget() -> int:
    given = os.environ.get(BUDGET)
    try:
        gigabytes = DEFAULT_BUDGET_GB if not given else float(given)
        if not 0 <= gigabytes < 1e9:
            raise ValueError
    except ValueError as error:
        raise RecipeError(f"{BUDGET}={printable(given or '')}: has to be a number of GB, as in {BUDGET}=64") from error
    return int(gigabytes * 1e9)


# ---------------------------------------------------------------- nothing there

_ENDINGS = "jpg, png, webp, bmp, tiff, gif or avif"
_NAMED = 3  # bad pictures that an error names


def _require_pictures(source: Source) -> None:
    if not source.entries:
        raise no_pictures(source.spec, source.skipped)


def no_pictures(spec: str, left: Sequence[Bad]) -> DataError:
    """The words for a corpus without pictures; `left` are those that could not be used."""
    if not left:
        return DataError(f"{printable(spec)} holds no pictures ({_ENDINGS})\n{TAKES}")
    return DataError(f"{printable(spec)} holds no usable pictures ({_ENDINGS})\n{some(left)}")


def some(bad: Sequence[Bad]) -> str:
    """The first few, and how many more there are."""
    more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return "; ".join(map(str, bad[:_NAMED])) + more
