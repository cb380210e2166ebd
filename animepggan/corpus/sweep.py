"""Every picture of a corpus opened once, on several threads, the results in the corpus' own order.

Threads, not processes: Pillow decodes and resizes without the interpreter's lock.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, TypeVar

from animepggan.corpus.decode import DecodeError
from animepggan.corpus.spec import READ_ERRORS, Bad, Entry

Result = TypeVar("Result")

_CHUNK = 16  # pictures a task opens
_AHEAD = 4  # tasks a thread that may wait for their turn


def sweep(
    entries: Sequence[Entry],
    look: Callable[[Entry, BinaryIO], Result],
    *,
    workers: int | None = None,  # threads; 0: the calling one; None: one a core
) -> Iterator[tuple[Entry, Result | Bad]]:
    """What `look` makes of each entry's open file, in order; Bad where it cannot be opened or decoded.

    Few results wait at any time, however many entries there are.
    """

    def work(chunk: Sequence[Entry]) -> list[tuple[Entry, Result | Bad]]:
        return [(entry, _look(entry, look)) for entry in chunk]

    chunks = (entries[start : start + _CHUNK] for start in range(0, len(entries), _CHUNK))
    # Pillow warns on standard error about oddities of files; what matters comes as an exception.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        if workers == 0:
            for chunk in chunks:
                yield from work(chunk)
            return
        threads = workers or cores()
        pool = ThreadPoolExecutor(threads)
        try:
            waiting: deque[Future[list[tuple[Entry, Result | Bad]]]] = deque()
            for chunk in chunks:
                waiting.append(pool.submit(work, chunk))
                if len(waiting) > _AHEAD * threads:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _look(entry: Entry, look: Callable[[Entry, BinaryIO], Result]) -> Result | Bad:
    try:
        with entry.open() as file:
            return look(entry, file)
    except DecodeError as error:
        return Bad(entry.name, str(error))
    except READ_ERRORS as error:
        return Bad(entry.name, getattr(error, "strerror", None) or str(error) or type(error).__name__)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
