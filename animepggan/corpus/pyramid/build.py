"""Builds a pyramid, or brings it up to date: shards that are there stay, the others are made, the index comes last.

It may be killed at any time: the old index and the shards that it names hold until the new one takes its place. A
picture of a new shard that is in an older one under the same name and stamp is copied, not decoded.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from animepggan.bar import Bar, Say
from animepggan.corpus.decode import decode
from animepggan.corpus.names import printable
from animepggan.corpus.pyramid.clusters import ClusterTable, digest_of, identify
from animepggan.corpus.pyramid.record import ArrayFile, Names, packed, write_arrays
from animepggan.corpus.pyramid.shard import (
    PIXELS,
    Chunk,
    Pixels,
    Shape,
    Shard,
    file_of,
    halve,
    parts_of,
    webp_of,
    write_shard,
)
from animepggan.corpus.source import READ_ERRORS, Bad, Entry, Source
from animepggan.corpus.sweep import attempt, in_order
from animepggan.errors import DataError, RecipeError, ResourceError, disk_is_full

INDEX = "index.safetensors"
FORMAT = 3
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

Known = Mapping[str, tuple[int, Shard, int]]
"""By name: stamp, shard and place of a picture that has been decoded before."""


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
    there: dict[str, Shard] = {}
    for path in folder.glob("shard-*.safetensors"):
        with suppress(OSError, ValueError):  # damaged: another will take its place
            there[path.name] = Shard(path)
    before = read_index(folder)
    named = {file: facts["pictures"] for file, facts in before.facts["shards"]} if before else {}
    parts = [(file_of(part), part) for part in parts_of(entries)]
    todo = [(file, part) for file, part in parts if file not in there or _is_outdated(there[file], part)]
    total = sum(len(part) for _, part in todo)
    if before:
        _say_changes(say, shown, before, entries, sum(count for file, count in named.items() if file not in there))
    if before and len(entries) <= 2 * sum(named.values()):
        encoded = before.facts["encoded"]
    else:  # the first time, and when there are many more: shards that are there stay as they are
        encoded = encoded_sides(shape, len(entries), folder, budget())
    done = sum(len(part) for file, part in parts if file in there and file not in named)
    if todo and done:
        say(f"{shown}: going on with a build that was stopped: {done:,} of {done + total:,} are done")
    elif todo and not before:
        say(f"{shown}: decoding {total:,} pictures once, into {folder}")
    if todo:
        check_space(total, shape, encoded, folder)
    arrays = [side for side in shape.sides if side not in encoded]
    make = partial(_make, shape, encoded, _known(there.values(), [part for _, part in todo]))
    size = max(1, min(64, _CHUNK // (3 * shape.side**2)))
    chunks = [part[start : start + size] for _, part in todo for start in range(0, len(part), size)]
    with closing(_told(in_order(chunks, make, workers), total, bar)) as made, writing(folder):
        for file, part in todo:
            write_shard(folder / file, part, arrays, islice(made, -(-len(part) // size)))
            there[file] = Shard(folder / file)
        shards = [there[file] for file, _ in parts]
        write_index(folder, source, stamp, shape.sides, encoded, shards)


def read_index(folder: Path) -> ArrayFile | None:
    """The index of the pyramid in `folder`; None where there is none that can be read."""
    try:
        index = ArrayFile(folder / INDEX)
    except (OSError, ValueError):  # missing, or damaged
        return None
    return index if index.facts.get("format") == FORMAT else None


def _is_outdated(shard: Shard, entries: Sequence[Entry]) -> bool:
    """Whether a picture of it has no stamp, or can be opened that could not be for a reason outside its file."""

    def opens(entry: Entry) -> bool:
        with suppress(*READ_ERRORS), entry.open():
            return True
        return False

    return 0 in shard.record["stamps"] or any(bad.passing and opens(entries[place]) for place, bad in shard.bad.items())


def _say_changes(say: Say, shown: str, before: ArrayFile, entries: Sequence[Entry], damaged: int) -> None:
    """How a source differs from what an index has of it, in pictures."""
    stamps = dict(zip(Names(before), before["stamps"].tolist(), strict=True))
    stamps |= {name: stamp for name, _, stamp in before.value("bad")}
    new = sum(entry.name not in stamps for entry in entries)
    changed = sum(stamps.get(entry.name, entry.stamp) != entry.stamp for entry in entries)
    counts = {"new": new, "gone": len(stamps) - (len(entries) - new), "changed": changed}
    if told := [f"{count:,} {what}" for what, count in counts.items() if count]:
        say(f"{shown}: {', '.join(told)} since its pictures were last decoded")
    if damaged:
        say(f"{shown}: {damaged:,} pictures are damaged in the cache; decoding them again")


# ---------------------------------------------------------------- shards


def _known(shards: Iterable[Shard], parts: Iterable[Sequence[Entry]]) -> Known:
    """Where pictures of the shards that are to be made are in those that there are."""
    wanted = {entry.name for part in parts for entry in part}
    return {
        name: (stamp, shard, place)
        for shard in (shards if wanted else ())
        for place, (name, stamp) in enumerate(zip(Names(shard.record), shard.record["stamps"].tolist(), strict=True))
        if name in wanted
    }


def _make(shape: Shape, encoded: Collection[int], known: Known, entries: Sequence[Entry]) -> Chunk:
    """Decode some pictures, and halve them down the levels; called from any thread."""

    def look(entry: Entry, file: BinaryIO) -> Pixels:
        return decode(file, resolution=shape.side, background=shape.background)

    pixels = np.zeros((len(entries), shape.side, shape.side, 3), np.uint8)
    digests = np.zeros((len(entries), 32), np.uint8)
    bad: dict[int, Bad] = {}
    for place, entry in enumerate(entries):
        picture = _copied(entry, known, shape.side)
        if picture is None:
            picture = attempt(entry, look)
        if isinstance(picture, Bad):
            bad[place] = picture
        else:
            pixels[place] = picture
            digests[place] = digest_of(picture)
    levels: dict[int, Pixels | list[bytes]] = {}
    for side in shape.sides:
        pixels = halve(pixels) if levels else pixels
        levels[side] = [webp_of(picture) for picture in pixels] if side in encoded else pixels
    return Chunk(levels, digests, bad)


def _copied(entry: Entry, known: Known, side: int) -> Pixels | Bad | None:
    """What was made of the entry before, where it is the same and still whole."""
    stamp, shard, place = known.get(entry.name, (0, None, 0))
    if shard is None or not stamp or stamp != entry.stamp:
        return None
    if place in shard.bad:
        return None if shard.bad[place].passing else shard.bad[place]
    with suppress(DataError):
        picture = shard.picture(place, side)
        if np.array_equal(digest_of(picture), shard.record["digests"][place]):
            return picture
    return None


def _told(chunks: Iterator[Chunk], total: int, bar: Bar) -> Generator[Chunk]:
    """The chunks, with a bar of their pictures."""
    done = 0
    for chunk in chunks:
        done += len(chunk.digests)
        bar("decode", done, total)
        yield chunk


# ---------------------------------------------------------------- the index


def write_index(
    folder: Path, source: Source, stamp: str, sides: Sequence[int], encoded: Sequence[int], shards: Sequence[Shard]
) -> None:
    """Put the index of all that is there in the place of the one before, then clear away what it does not name."""
    entries = source.entries
    starts = accumulate(map(len, shards), initial=0)
    bad = {start + place: one for start, shard in zip(starts, shards, strict=False) for place, one in shard.bad.items()}
    rows = [row for row in range(len(entries)) if row not in bad]
    good = [entries[row] for row in rows]
    clusters = ClusterTable.of([entry.cluster for entry in good], [entry.weight for entry in good])
    digests = np.concatenate([shard.record["digests"] for shard in shards])[rows]
    fingerprint, distinct = identify((entry.name for entry in good), digests, clusters)
    arrays = {
        **packed(entry.name for entry in good),
        "rows": np.array(rows, np.uint32),
        "stamps": np.array([entry.stamp for entry in good], np.uint64),
        "bad": _as_json([(one.name, one.reason, entries[row].stamp) for row, one in bad.items()]),
        "skipped": _as_json([(one.name, one.reason, one.by_choice) for one in source.skipped]),
    }
    if clusters is not None:
        arrays |= {"members": clusters.members, "starts": clusters.starts, "shares": clusters.shares}
    facts = {
        "format": FORMAT,
        "sides": sides,
        "encoded": encoded,
        "spec": source.spec,
        "stamp": stamp,
        "shards": [(shard.path.name, shard.facts) for shard in shards],
        "bad": len(bad),
        "passing": any(one.passing for one in bad.values()),
        "distinct": distinct,
        "fingerprint": fingerprint,
    }
    write_arrays(folder / INDEX, facts, arrays)
    wanted = {INDEX, *(shard.path.with_suffix(ending).name for shard in shards for ending in (".safetensors", PIXELS))}
    for path in folder.iterdir():
        if path.name not in wanted:
            with suppress(OSError):  # in use, where the system minds
                path.unlink()


def _as_json(value: object) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


# ---------------------------------------------------------------- the disk


def budget() -> int:
    """Bytes that the arrays of one pyramid may take; RecipeError where the environment's number is none."""
    given = os.environ.get(BUDGET)
    try:
        gigabytes = float(given) if given else _DEFAULT_GB
        if not 0 <= gigabytes < 1e9:
            raise ValueError
    except ValueError as error:
        raise RecipeError(f"{BUDGET}={printable(given or '')}: has to be a number of GB, as in {BUDGET}=64") from error
    return int(gigabytes * 1e9)


def encoded_sides(shape: Shape, pictures: int, folder: Path, most: int) -> list[int]:
    """The sides to store as WebP: above 128 px, what no longer fits into `most` bytes, counted from the lowest one."""
    room = min(most, shutil.disk_usage(folder).free * 9 // 10)
    sizes = {side: sum(3 * s * s * pictures for s in shape.sides if s <= side) for side in shape.sides}
    return [side for side, size in sizes.items() if side > _ALWAYS_ARRAYS and size > room]


def check_space(pictures: int, shape: Shape, encoded: Collection[int], folder: Path) -> None:
    """Raise ResourceError where there is too little room for so many pictures."""
    needed = sum(int(3 * side * side * pictures * (_WEBP if side in encoded else 1)) for side in shape.sides)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(
            f"{pictures:,} pictures at {shape.side}x{shape.side} pixels need {needed / 1e9:.2g} GB of disk, "
            f"{free / 1e9:.2g} GB are free in {folder.parent}\n{_MORE_DISK}"
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Words for what can go wrong with the cache's disk."""
    try:
        yield
    except OSError as error:
        if disk_is_full(error):
            there = next(parent for parent in (folder, *folder.parents) if parent.exists())
            raise ResourceError(
                f"no space left on the disk for the pictures' pyramid in {folder} "
                f"({shutil.disk_usage(there).free / 1e6:.0f} MB are free)\n"
                f"{_MORE_DISK}\nthen run the same command again: it goes on where it stopped"
            ) from error
        raise ResourceError(
            f"{folder}: cannot be written: {error.strerror or error}\n"
            "set ANIMEPGGAN_CACHE to a folder that can be written to"
        ) from error
