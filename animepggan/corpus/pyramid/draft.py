"""The index that a build is going to write: what it takes over, what it finds done, and what it makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

from animepggan.corpus.pyramid.index import Index, is_whole
from animepggan.corpus.pyramid.journal import Chunk, Unfit
from animepggan.corpus.pyramid.levels import Level, Piece
from animepggan.corpus.spec import Entry

NOWHERE = np.uint32(0xFFFFFFFF)
"""The row of a picture that has none."""

Held = tuple[int, tuple[Piece, ...]]
"""How many pictures are in a chunk, and what each level holds of them."""


@dataclass
class Draft:
    """The index that is to be written, by place in `entries`."""

    entries: Sequence[Entry]
    rows: NDArray[np.uint32]
    digests: NDArray[np.uint8]
    bad: dict[int, Unfit] = field(default_factory=dict)
    chunks: dict[int, Held] = field(default_factory=dict)  # number: pictures, a piece a level

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Draft:
        return cls(entries, np.full(len(entries), NOWHERE), np.zeros((len(entries), 32), np.uint8))

    @property
    def kept(self) -> list[int]:
        """Places of the pictures that have a row."""
        return np.flatnonzero(self.rows != NOWHERE).tolist()

    @property
    def todo(self) -> list[int]:
        """Places of the pictures that have neither a row nor a reason why not."""
        return [index for index in np.flatnonzero(self.rows == NOWHERE).tolist() if index not in self.bad]

    def forget(self) -> None:
        """Take the rows from all pictures."""
        self.rows[:] = NOWHERE
        self.chunks.clear()

    def keep(self, index: int, row: int, digest: bytes | NDArray[np.uint8]) -> None:
        """Give a picture a row."""
        self.rows[index] = row
        self.digests[index] = np.frombuffer(digest, np.uint8) if isinstance(digest, bytes) else digest


@dataclass
class News:
    """How a source differs from what an index has of it, in pictures."""

    new: int = 0
    gone: int = 0
    changed: int = 0
    damaged: int = 0
    read_again: int = 0


def take_over(draft: Draft, found: Index, dead: set[int], size: int) -> News:
    """Enter what is there of the pictures that have not changed; both lists are sorted by name."""
    news = News()
    rows, stamps, digests = found["rows"], found["stamps"], found["digests"]
    was_bad = {bad.name: (stamp, bad.reason, passing) for bad, stamp, passing in found.bad}
    seen_bad = 0
    old = enumerate(found.names)
    place, name = next(old, (-1, None))
    for index, entry in enumerate(draft.entries):
        while name is not None and name < entry.name:
            news.gone += 1
            place, name = next(old, (-1, None))
        if name == entry.name:
            if not entry.stamp or stamps[place] != entry.stamp:
                news.changed += 1
            elif int(rows[place]) // size in dead:
                news.damaged += 1
            else:
                draft.keep(index, int(rows[place]), digests[place])
            place, name = next(old, (-1, None))
        elif entry.name in was_bad:
            seen_bad += 1
            stamp, reason, passing = was_bad[entry.name]
            if passing:
                news.read_again += 1
            elif entry.stamp and stamp == entry.stamp:
                draft.bad[index] = Unfit(entry.name, stamp, reason, passing)
            else:
                news.changed += bool(entry.stamp)
        else:
            news.new += 1
    news.gone += (name is not None) + sum(1 for _ in old) + len(was_bad) - seen_bad
    used = set((draft.rows[draft.rows != NOWHERE] // size).tolist())
    for number, chunk in chunks_of(found, size):
        if number in used:
            draft.chunks[number] = chunk
    return news


def chunks_of(found: Index, size: int) -> Iterator[tuple[int, Held]]:
    """The chunks that an index names."""
    held, kinds, levels = found["counts"], found.facts["kinds"], found.facts["sides"]
    sums = [found[f"sums-{side}"] for side in levels]
    for number in np.flatnonzero(held).tolist():
        first, pieces = number * size, []
        for side, kind, digests in zip(levels, kinds, sums, strict=True):
            digest = digests[number].tobytes()
            if kind == "array":
                pieces.append(Piece(digest))
            else:
                lengths = tuple(found[f"lengths-{side}"][first : first + int(held[number])].tolist())
                pieces.append(Piece(digest, int(found[f"offsets-{side}"][first]), lengths))
        yield number, (int(held[number]), tuple(pieces))


def damaged_chunks(found: Index, levels: Sequence[Level], size: int, check: bool, workers: int) -> set[int]:
    """Chunks that some level no longer holds."""
    suspects = [place for place, level in enumerate(levels) if check or not is_whole(found, level)]
    if not suspects:
        return set()

    def is_dead(item: tuple[int, Held]) -> int | None:
        number, (held, pieces) = item
        whole = all(levels[place].holds(number * size, pieces[place], held) for place in suspects)
        return None if whole else number

    with ThreadPoolExecutor(workers or 1) as pool:
        return {number for number in pool.map(is_dead, chunks_of(found, size)) if number is not None}


def go_on(draft: Draft, chunks: Sequence[Chunk], levels: Sequence[Level], size: int, workers: int) -> set[int]:
    """Enter what an unfinished build has done, where its pixels are there; the numbers of those chunks."""

    def is_there(chunk: Chunk) -> bool:
        return len(chunk.pieces) == len(levels) and all(
            level.holds(chunk.number * size, piece, len(chunk.good))
            for level, piece in zip(levels, chunk.pieces, strict=True)
        )

    with ThreadPoolExecutor(workers or 1) as pool:
        there = [chunk for chunk, whole in zip(chunks, pool.map(is_there, chunks), strict=True) if whole]
    places = {entry.name: index for index, entry in enumerate(draft.entries)} if there else {}
    for chunk in there:
        if chunk.good:
            draft.chunks[chunk.number] = (len(chunk.good), chunk.pieces)
        for place, one in enumerate(chunk.good):
            index = places.get(one.name, -1)
            if index >= 0 and one.stamp and draft.entries[index].stamp == one.stamp:
                draft.keep(index, chunk.number * size + place, one.digest)
        for unfit in chunk.bad:
            index = places.get(unfit.name, -1)
            if index >= 0 and unfit.stamp and draft.entries[index].stamp == unfit.stamp and not unfit.passing:
                draft.bad[index] = unfit
    return {chunk.number for chunk in there}


def enter(draft: Draft, indices: Sequence[int], chunk: Chunk, size: int) -> None:
    """Enter a chunk that was made of the entries at `indices`."""
    if chunk.good:
        draft.chunks[chunk.number] = (len(chunk.good), chunk.pieces)
    unfit = {one.name: one for one in chunk.bad}
    draft.bad |= {index: unfit[name] for index in indices if (name := draft.entries[index].name) in unfit}
    rows = count(chunk.number * size)
    good = [index for index in indices if index not in draft.bad]
    for index, row, one in zip(good, rows, chunk.good, strict=False):
        draft.keep(index, row, one.digest)
