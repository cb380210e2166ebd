"""Every picture of a corpus opened once, on several threads, the results in the corpus' own order.

Threads, not processes: Pillow decodes and resizes without the interpreter's lock.
"""

from __future__ import annotations

import errno
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import chain
from typing import BinaryIO, TypeVar

from animepggan.corpus.headers import DecodeError
from animepggan.corpus.source import READ_ERRORS, Bad, Entry
from animepggan.corpus.worker import cores

Task = TypeVar("Task")
Result = TypeVar("Result")

_CHUNK = 16  # pictures a task opens


def some_of(things: Sequence[Task], count: int) -> Sequence[Task]:
    """At most `count` of the things, from all over them and in their order."""
    return things[:: max(1, -(-len(things) // count))]


def sweep(
    entries: Sequence[Entry],
    look: Callable[[Entry, BinaryIO], Result],
    *,
    workers: int | None = None,  # threads; 0: the calling one; None: one a core
) -> Iterator[tuple[Entry, Result | Bad]]:
    """What `look` makes of each entry's open file, in order; Bad where it cannot be opened or decoded.

    Few results wait at any time, however many entries there are.
    """

    chunks = (entries[start : start + _CHUNK] for start in range(0, len(entries), _CHUNK))
    results = in_order(chunks, lambda chunk: [(entry, attempt(entry, look)) for entry in chunk], workers)
    yield from chain.from_iterable(results)


def in_order(
    tasks: Iterable[Task],
    work: Callable[[Task], Result],
    workers: int | None,
    *,
    ahead: int = 4,
    pool: Callable[[int], Executor] = ThreadPoolExecutor,
) -> Iterator[Result]:
    """What `work` makes of each task, in order, by `workers` threads (0: the calling one; None: one a core).

    `ahead`: tasks a thread that may wait for their turn. `pool` starts so many threads, or processes.
    """
    # Pillow warns on standard error about oddities of files; what matters comes as an exception.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        if workers == 0:
            yield from map(work, tasks)
            return
        threads = workers or cores()
        executor = pool(threads)
        try:
            waiting: deque[Future[Result]] = deque()
            for task in tasks:
                waiting.append(executor.submit(work, task))
                if len(waiting) > ahead * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            executor.shutdown(cancel_futures=True)


def attempt(entry: Entry, look: Callable[[Entry, BinaryIO], Result]) -> Result | Bad:
    """What `look` makes of the entry's open file; Bad where it cannot be opened or decoded."""
    try:
        with entry.open() as file:
            return look(entry, file)
    except DecodeError as error:
        return Bad(entry.name, str(error))
    except READ_ERRORS as error:
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):  # no fault of the picture
            raise
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Bad(entry.name, reason, passing=getattr(error, "errno", None) is not None)
