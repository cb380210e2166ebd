"""Builds a pyramid, or brings it up to date: shards that are there stay, the others are made, the index comes last.

It may be killed at any time: the old index and the shards that it names hold until the new one takes its place. A
picture of a new shard that is in an older one under the same name and stamp is copied, not decoded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from animepggan.bar import Bar, Say
from animepggan.corpus.decode import decode
from animepggan.corpus.names import printable
from animepggan.corpus.pyramid.clusters import ClusterTable, digest_of, identify
from animepggan.corpus.pyramid.shard import (
    Chunk,
    Pixels,
    Shape,
    Shard,
    file_of,
    halve,
    packed,
    parts_of,
    read_record,
    record_of,
    webp_of,
    write_shard,
)
from animepggan.corpus.source import READ_ERRORS, Bad, Entry, Source
from animepggan.corpus.sweep import attempt, in_order
from animepggan.disk import replacing
from animepggan.errors import DataError, RecipeError, ResourceError, disk_is_full

INDEX = "index.record"
PYRAMID_FORMAT = 4
"""Raised when a pyramid of before can no longer be read, or when `decode` makes other pixels of the same file."""
_CHUNK = 4 << 20  # bytes of pixels at the top level that a thread decodes at once, and at most 64 pictures

BUDGET = "ANIMEPGGAN_PYRAMID_GB"
"""Names how much disk the arrays of one pyramid may take, in GB; levels above 128 px beyond that are stored as WebP."""
_DEFAULT_GB = 64.0
_ALWAYS_ARRAYS = 128  # pixels
_WEBP = 0.5  # of an array's bytes, to reckon with: only noise takes more
_MORE_DISK = (
    "free some (any folder in there that no run reads may be deleted), take a smaller resolution, "
    "or set ANIMEPGGAN_CACHE to a folder on a larger disk"
)

Known = Mapping[str, tuple[int, Shard, int | Bad]]
"""By name: stamp, shard, and place or what is wrong, of each picture that has been decoded before."""


def build(
    folder: Path,
    source: Source,
    stamp: str,  # of the source, taken before its entries
    shape: Shape,
    *,
    workers: int | None,
    bar: Bar,
    say: Say,
) -> None:
    """Bring the pyramid in `folder` to what `source` holds now. The caller holds the folder's lock.

    Raises ResourceError when it cannot be written, and MemoryError.
    """
    entries, shown = source.entries, printable(source.spec)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    named: dict[str, int] = {}  # the shards of the last index, and how many entries each is of
    with suppress(OSError, ValueError):  # missing, or damaged
        named = dict(read_record(folder / INDEX)[1]["shards"])
    there: dict[str, Shard] = {}
    for path in sorted(folder.glob("shard-*"), key=lambda path: path.name in named):
        with suppress(OSError, ValueError):  # damaged: another will take its place
            there[path.name] = Shard(path)
    known = _known(there.values())
    parts = {file_of(part): part for part in parts_of(entries)}
    todo = {file: part for file, part in parts.items() if file not in there or _is_outdated(there[file], part)}
    total = sum(map(len, todo.values()))
    done = sum(len(part) for file, part in parts.items() if file in there and file not in named)
    if damaged := sum(count for file, count in named.items() if file not in there):
        say(f"{shown}: {damaged:,} pictures are damaged in the cache; decoding them again")
    elif named:
        was = {name: stamp for name, (stamp, shard, _) in known.items() if shard.path.name in named}
        _say_changes(say, shown, entries, was)
    if todo and done:
        say(f"{shown}: going on with a build that was stopped: {done:,} of {done + total:,} are done")
    elif todo and not named:
        say(f"{shown}: decoding {total:,} pictures once, into {folder}")
    encoded = encoded_sides(shape, len(entries), total, folder)
    make = partial(_make, shape, encoded, known)
    size = max(1, min(64, _CHUNK // (3 * shape.side**2)))
    chunks = [part[start : start + size] for part in todo.values() for start in range(0, len(part), size)]
    arrays = [side for side in shape.sides if side not in encoded]
    with closing(_told(in_order(chunks, make, workers), total, bar)) as made, writing(folder):
        for file, part in todo.items():
            write_shard(folder / file, len(part), arrays, islice(made, -(-len(part) // size)))
            there[file] = Shard(folder / file)
        write_index(folder, source, stamp, shape, [there[file] for file in parts])


def _is_outdated(shard: Shard, entries: Sequence[Entry]) -> bool:
    """Whether a picture of it can be opened that could not be for a reason outside its file."""
    passing = {bad.name for bad, _ in shard.bad if bad.passing}
    for entry in entries:
        if entry.name in passing:
            with suppress(*READ_ERRORS), entry.open():
                return True
    return False


def _say_changes(say: Say, shown: str, entries: Sequence[Entry], stamps: Mapping[str, int]) -> None:
    """How entries differ from those of before, whose stamps are given by name."""
    new = sum(entry.name not in stamps for entry in entries)
    changed = sum(stamps.get(entry.name, entry.stamp) != entry.stamp for entry in entries)
    counts = {"new": new, "gone": len(stamps) - (len(entries) - new), "changed": changed}
    if told := [f"{count:,} {what}" for what, count in counts.items() if count]:
        say(f"{shown}: {', '.join(told)} since its pictures were last decoded")


# ---------------------------------------------------------------- shards


def _known(shards: Iterable[Shard]) -> Known:
    """What there is; of a name that is in several shards the last one's."""
    known: dict[str, tuple[int, Shard, int | Bad]] = {}
    for shard in shards:
        rows = enumerate(zip(shard.names, shard.stamps.tolist(), strict=True))
        known |= {name: (stamp, shard, place) for place, (name, stamp) in rows}
        known |= {bad.name: (stamp, shard, bad) for bad, stamp in shard.bad}
    return known


def _make(shape: Shape, encoded: Collection[int], known: Known, entries: Sequence[Entry]) -> Chunk:
    """Decode some pictures, and halve them down the levels; called from any thread."""

    def look(entry: Entry, file: BinaryIO) -> Pixels:
        return decode(file, resolution=shape.side, background=shape.background)

    pixels = np.empty((len(entries), shape.side, shape.side, 3), np.uint8)
    good: list[Entry] = []
    bad: list[tuple[Bad, int]] = []
    for entry in entries:
        picture = _copied(entry, known, shape.side)
        if picture is None:
            picture = attempt(entry, look)
        if isinstance(picture, Bad):
            bad.append((picture, entry.stamp))
        else:
            pixels[len(good)] = picture
            good.append(entry)
    pixels = pixels[: len(good)]
    digests = np.array([digest_of(picture) for picture in pixels], np.uint8).reshape(-1, 32)
    levels: dict[int, Pixels | list[bytes]] = {}
    for side in shape.sides:
        pixels = halve(pixels) if levels else pixels
        levels[side] = [webp_of(picture) for picture in pixels] if side in encoded else pixels
    return Chunk(good, levels, digests, bad)


def _copied(entry: Entry, known: Known, side: int) -> Pixels | Bad | None:
    """What was made of the entry before, where it is the same and still whole."""
    if entry.name not in known:
        return None
    stamp, shard, found = known[entry.name]
    if not stamp or stamp != entry.stamp:
        return None
    if isinstance(found, Bad):
        return None if found.passing else found
    with suppress(DataError):
        picture = shard.picture(found, side)
        if np.array_equal(digest_of(picture), shard.digests[found]):
            return picture
    return None


def _told(chunks: Iterator[Chunk], total: int, bar: Bar) -> Generator[Chunk]:
    """The chunks, with a bar of their pictures."""
    done = 0
    for chunk in chunks:
        done += len(chunk.entries) + len(chunk.bad)
        bar("decode", done, total)
        yield chunk


# ---------------------------------------------------------------- the index


def write_index(folder: Path, source: Source, stamp: str, shape: Shape, shards: Sequence[Shard]) -> None:
    """Put the index of all that is there in the place of the one before, then clear away what it does not name."""
    bad = {one.name: one for shard in shards for one, _ in shard.bad}
    good = [entry for entry in source.entries if entry.name not in bad]
    names = [entry.name for entry in good]
    clusters = ClusterTable.of([entry.cluster for entry in good], [entry.weight for entry in good])
    fingerprint, distinct = identify(names, np.concatenate([shard.digests for shard in shards]), clusters)
    arrays = packed(names)
    if clusters is not None:
        arrays |= vars(clusters)
    facts = {
        "sides": shape.sides,
        "stamp": None if any(one.passing for one in bad.values()) else stamp,  # None: worth another try
        "shards": [(shard.path.name, len(shard) + len(shard.bad)) for shard in shards],
        "skipped": [(one.name, one.reason, one.by_choice) for one in source.skipped],
        "identity": (fingerprint, distinct),
    }
    with replacing(folder / INDEX, sync=True) as partial:
        partial.write_bytes(record_of(facts, arrays))
    wanted = {INDEX, *(shard.path.name for shard in shards)}
    for path in folder.iterdir():
        if path.name not in wanted:
            with suppress(OSError):  # in use, where the system minds
                path.unlink()


# ---------------------------------------------------------------- the disk


def budget() -> float:
    """Bytes that the arrays of one pyramid may take; RecipeError where the environment's number is none."""
    given = os.environ.get(BUDGET)
    with suppress(ValueError):
        gigabytes = float(given) if given else _DEFAULT_GB
        if 0 <= gigabytes < 1e9:
            return gigabytes * 1e9
    raise RecipeError(f"{BUDGET}={printable(given or '')}: has to be a number of GB, as in {BUDGET}=64")


def encoded_sides(shape: Shape, pictures: int, new: int, folder: Path) -> list[int]:
    """The sides to store as WebP: above 128 px, what no longer fits into the budget, counted from the lowest one.

    Raises ResourceError where there is too little room for the new ones of so many pictures.
    """
    free = shutil.disk_usage(folder).free
    room = min(budget(), free * 0.9)
    sizes = {side: sum(3 * s * s * pictures for s in shape.sides if s <= side) for side in shape.sides}
    encoded = [side for side, size in sizes.items() if side > _ALWAYS_ARRAYS and size > room]
    needed = sum(int(3 * side * side * new * (_WEBP if side in encoded else 1)) for side in shape.sides)
    if needed > free:
        raise ResourceError(
            f"{new:,} pictures at {shape.side}x{shape.side} pixels need {needed / 1e9:.2g} GB of disk, "
            f"{free / 1e9:.2g} GB are free in {folder.parent}\n{_MORE_DISK}"
        )
    return encoded


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Words for what can go wrong with the cache's disk."""
    try:
        yield
    except OSError as error:
        if disk_is_full(error):
            raise ResourceError(
                f"no space left on the disk for the pictures' pyramid in {folder}\n"
                f"{_MORE_DISK}\nthen run the same command again: it goes on where it stopped"
            ) from error
        raise ResourceError(
            f"{folder}: cannot be written: {error.strerror or error}\n"
            "set ANIMEPGGAN_CACHE to a folder that can be written to"
        ) from error
