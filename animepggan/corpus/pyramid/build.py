"""Builds a pyramid, or brings it up to date: what is new or has changed is decoded, what is there stays where it is.

It may be killed at any time. What a build writes lies behind the rows that the index names, so the old index holds
until the new one takes its place; the journal says what of the new rows is done.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animepggan.corpus.decode import DecodeError, decode
from animepggan.corpus.names import printable
from animepggan.corpus.pyramid import journal
from animepggan.corpus.pyramid.clusters import Clusters
from animepggan.corpus.pyramid.disk import check_space, kinds_within, writing
from animepggan.corpus.pyramid.draft import Draft, News, damaged_chunks, enter, go_on, take_over
from animepggan.corpus.pyramid.identity import count_distinct, digest_of, fingerprint_of
from animepggan.corpus.pyramid.index import FILE, Index, Names, levels_of, lines, open_level, write
from animepggan.corpus.pyramid.journal import Chunk, Good, Journal, Unfit
from animepggan.corpus.pyramid.levels import Level, Pixels, Shape, WebpLevel, halve, make, rows_of_chunk
from animepggan.corpus.spec import READ_ERRORS, Entry, Source
from animepggan.corpus.sweep import cores

Progress = Callable[[int, int], None]
"""Called as progress(done, total), in pictures, from the thread that loads."""
Say = Callable[[str], object]

_WASTE = 1024  # rows that nobody names any more before it is worth copying the others


def build(
    folder: Path,
    source: Source,
    stamp: str,  # of the source, taken before its entries
    shape: Shape,
    found: Index | None,  # what is there, of this shape
    *,
    check: bool,  # all sums of what is there, not only where a file is short
    workers: int | None,
    progress: Progress | None,
    say: Say,
    budget: int,  # bytes of disk
) -> None:
    """Bring the pyramid in `folder` to what `source` holds now. The caller holds the folder's lock.

    Raises ResourceError when it cannot be written, and MemoryError.
    """
    entries = source.entries
    shown = printable(source.spec)
    workers = cores() if workers is None else workers
    size = rows_of_chunk(shape.side)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    draft = Draft.of(entries)
    old: Sequence[Level] = ()
    if found is not None:
        old = levels_of(folder, found)
        dead = damaged_chunks(found, old, size, check, workers)
        _say_changes(say, shown, take_over(draft, found, dead, size))
    kept = draft.kept

    # Rows go on behind those that are there, in the same files, unless there are none, or most are of no use any more,
    # or a build that had begun anew was stopped. Files of another generation may be in use: they are never written to.
    begun = journal.read(folder)
    anew = begun is not None and begun.anew and (found is None or begun.generation != found.facts["generation"])
    copies: dict[int, int] = {}  # place: row in the old levels
    if found is None or anew or found.facts["rows"] - len(kept) > len(kept) + len(draft.todo) + _WASTE:
        begun, anew = (begun if anew else None), True
        if found is not None and _can_be_copied(found, old[0]):
            copies = dict(zip(kept, draft.rows[kept].tolist(), strict=True))
        draft.forget()
        used = 0
        generation = begun.generation if begun else _newest_generation(folder) + 1
        kinds = begun.kinds if begun else kinds_within(shape, len(entries), folder, budget)
    else:
        generation, kinds, used = found.facts["generation"], found.facts["kinds"], found.facts["rows"]
        if begun is not None and (begun.anew or begun.generation != generation):
            begun = None
    levels = make(folder, generation, kinds, shape.sides)
    first_free = -(-used // size)
    taken: set[int] = set()
    if begun is not None:
        before = len(draft.todo)
        taken = go_on(draft, [chunk for chunk in begun.chunks if chunk.number >= first_free], levels, size, workers)
        if taken:
            say(f"{shown}: going on with a build that was stopped: {before - len(draft.todo):,} of {before:,} are done")
    else:
        with writing(folder):
            (folder / journal.FILE).unlink(missing_ok=True)

    todo = draft.todo
    if todo:
        check_space(len(todo), shape, kinds, folder)
        if found is None and not taken:
            say(f"{shown}: decoding {len(todo):,} pictures once, into {folder}")
        free = (number for number in count(first_free) if number not in taken)
        maker = _Maker(entries, shape, levels, size, folder, old, copies, draft.digests)
        with writing(folder):
            record = Journal(folder, generation, kinds, anew=anew)
        with closing(record):
            for indices, chunk in _in_parallel(maker, todo, free, size, workers, progress):
                with writing(folder):
                    record.add(chunk)
                enter(draft, indices, chunk, size)
    _commit(folder, source, stamp, shape, draft, levels, generation, kinds, used)


def _say_changes(say: Say, shown: str, news: News) -> None:
    told = [f"{number:,} {what}" for number, what in ((news.gone, "gone"), (news.changed, "changed")) if number]
    if news.new:
        told.insert(0, f"{news.new:,} new")
    if told:
        say(f"{shown}: {', '.join(told)} since its pictures were last decoded")
    if news.damaged:
        say(f"{shown}: {news.damaged:,} pictures are damaged in the cache; decoding them again")


def _newest_generation(folder: Path) -> int:
    """The highest number that files of levels in `folder` have, 0 where there are none."""
    return max((int(path.name.split(".")[1]) for path in folder.glob("level-*.*.*")), default=0)


def _can_be_copied(found: Index, top: Level) -> bool:
    """Map the top level of what is there, so that its rows can be copied into new files."""
    try:
        open_level(found, top)
    except (OSError, ValueError):
        return False
    return True


# ---------------------------------------------------------------- what is made


class _Maker:
    """Makes chunks: decodes pictures, halves them, and writes them into the levels. Called from any thread."""

    def __init__(
        self,
        entries: Sequence[Entry],
        shape: Shape,
        levels: Sequence[Level],
        size: int,  # pictures a chunk
        folder: Path,
        old: Sequence[Level],
        copies: dict[int, int],  # rows of `old` by place in `entries`: pictures that need not be decoded
        digests: NDArray[np.uint8],  # of those
    ) -> None:
        self._entries, self._shape, self._levels, self._folder = entries, shape, levels, folder
        self._size = size
        self._old, self._copies, self._digests = old, copies, digests

    def __call__(self, number: int, indices: Sequence[int]) -> tuple[Sequence[int], Chunk]:
        side = self._shape.side
        pixels = np.empty((len(indices), side, side, 3), np.uint8)
        good: list[Good] = []
        bad: list[Unfit] = []
        for index in indices:
            entry = self._entries[index]
            try:
                picture, digest = self._picture(index, entry)
            except DecodeError as error:
                bad.append(Unfit(entry.name, entry.stamp, str(error), False))
            except READ_ERRORS as error:
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                bad.append(Unfit(entry.name, entry.stamp, reason, getattr(error, "errno", None) is not None))
            else:
                pixels[len(good)] = picture
                good.append(Good(entry.name, entry.stamp, digest))
        pixels = pixels[: len(good)]
        pieces = []
        with writing(self._folder):
            for level in self._levels:
                if level is not self._levels[0]:
                    pixels = halve(pixels)
                pieces.append(level.write(number * self._size, pixels))
        return indices, Chunk(number, tuple(good), tuple(bad), tuple(pieces))

    def _picture(self, index: int, entry: Entry) -> tuple[Pixels, bytes]:
        if index in self._copies:
            return self._old[0].take(np.array([self._copies[index]]))[0], self._digests[index].tobytes()
        with entry.open() as file:
            picture = decode(file, resolution=self._shape.side, background=self._shape.background)
        return picture, digest_of(picture)


def _in_parallel(
    maker: _Maker,
    todo: Sequence[int],
    free: Iterator[int],
    size: int,
    workers: int,
    progress: Progress | None,
) -> Iterator[tuple[Sequence[int], Chunk]]:
    """The chunks of `todo` as they are done. Few are begun ahead, so that little is lost when the build is killed."""
    parts = iter([todo[start : start + size] for start in range(0, len(todo), size)])
    done = 0

    def told(result: tuple[Sequence[int], Chunk]) -> tuple[Sequence[int], Chunk]:
        nonlocal done
        done += len(result[0])
        if progress:
            progress(done, len(todo))
        return result

    # Pillow warns on standard error about oddities of files; what matters comes as an exception.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        if workers == 0:
            for part in parts:
                yield told(maker(next(free), part))
            return
        # Threads, not processes: Pillow decodes and resizes without the interpreter's lock.
        pool = ThreadPoolExecutor(workers)
        running: set[Future[tuple[Sequence[int], Chunk]]] = set()
        failure: BaseException | None = None
        try:
            while True:
                # After a failure no more is begun, but what is being made is kept.
                for part in islice(parts, 0 if failure else 2 * workers - len(running)):
                    running.add(pool.submit(maker, next(free), part))
                if not running:
                    break
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    if error := future.exception():
                        failure = failure or error
                    else:
                        yield told(future.result())
            if failure:
                raise failure
        finally:
            pool.shutdown(cancel_futures=True)


# ---------------------------------------------------------------- the index


def _commit(
    folder: Path,
    source: Source,
    stamp: str,
    shape: Shape,
    draft: Draft,
    levels: Sequence[Level],
    generation: int,
    kinds: Sequence[str],
    used: int,
) -> None:
    """See the pixels to the disk, then put the new index in the old one's place, then clear away."""
    size = rows_of_chunk(shape.side)
    rows = max([used, *(number * size + held for number, (held, _) in draft.chunks.items())])
    good = draft.kept
    with writing(folder):
        for level in levels:
            level.seal(rows)
        names = [draft.entries[index].name for index in good]
        arrays: dict[str, NDArray[Any]] = dict(zip(("names", "ends"), Names.packed(names), strict=True))
        arrays["rows"] = draft.rows[good]
        arrays["stamps"] = np.array([draft.entries[index].stamp for index in good], np.uint64)
        arrays["digests"] = digests = draft.digests[good]
        arrays |= _sums(draft, levels, size, rows)
        clusters = Clusters.of(
            [draft.entries[index].cluster for index in good], [draft.entries[index].weight for index in good]
        )
        if clusters is not None:
            arrays |= {"members": clusters.members, "starts": clusters.starts, "shares": clusters.shares}
        bad = [draft.bad[index] for index in sorted(draft.bad)]
        arrays["bad"] = lines((one.name, one.reason, one.stamp, one.passing) for one in bad)
        arrays["skipped"] = lines((one.name, one.reason, one.by_choice) for one in source.skipped)
        facts = {
            "spec": source.spec,
            "stamp": stamp,
            "generation": generation,
            "sides": shape.sides,
            "kinds": list(kinds),
            "rows": rows,
            "bad": len(bad),
            "passing": any(one.passing for one in bad),
            "distinct": count_distinct(digests, clusters),
            "fingerprint": fingerprint_of(names, digests, clusters),
        }
        write(folder / FILE, facts, arrays)
        _clear_away(folder, {FILE, *(level.path.name for level in levels)})


def _sums(draft: Draft, levels: Sequence[Level], size: int, rows: int) -> dict[str, NDArray[Any]]:
    """What was written where, to be checked by."""
    chunks = -(-rows // size)
    arrays: dict[str, NDArray[Any]] = {"counts": np.zeros(chunks, np.uint8)}
    for level in levels:
        arrays[f"sums-{level.side}"] = np.zeros((chunks, 32), np.uint8)
        if isinstance(level, WebpLevel):
            arrays[f"offsets-{level.side}"] = np.zeros(rows, np.uint64)
            arrays[f"lengths-{level.side}"] = np.zeros(rows, np.uint32)
    for number, (held, pieces) in draft.chunks.items():
        arrays["counts"][number] = held
        first = slice(number * size, number * size + held)
        for level, piece in zip(levels, pieces, strict=True):
            arrays[f"sums-{level.side}"][number] = np.frombuffer(piece.sum, np.uint8)
            if isinstance(level, WebpLevel):
                ends = np.cumsum(piece.lengths, dtype=np.uint64)
                arrays[f"lengths-{level.side}"][first] = piece.lengths
                arrays[f"offsets-{level.side}"][first] = piece.offset + ends - np.array(piece.lengths, np.uint64)
    return arrays


def _clear_away(folder: Path, wanted: set[str]) -> None:
    """Remove all but what the index names: the journal, what other generations left, half-written files."""
    for path in folder.iterdir():
        if path.name not in wanted:
            with suppress(OSError):  # in use, where the system minds
                shutil.rmtree(path) if path.is_dir() else path.unlink()
