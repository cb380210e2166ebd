"""Everything that can go wrong for a user, as one tree.

AnimepgganError
├── RecipeError       exit 2    a recipe, an override, or a base that does not fit the recipe
├── DataError         exit 3    pictures missing, empty, unreadable
├── ModelError        exit 4    a checkpoint missing, damaged, or not the one that a run can go on from
├── HubError          exit 5    a malformed hub specification, or the hub did not answer
├── ResourceError     exit 6    disk or memory
├── DivergedError     exit 7    training produced a number that is not finite, or went wrong too often
├── BusyError         exit 8    another process is writing to the output folder
└── Interrupted       exit 128 + number of the signal, after saving

A message is one to three lines: what is wrong, where (file, key, line, picture), what to do.
Only `cli/` turns one into an exit code and a print.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

BUG = 70  # exit code of an error that is ours, of no class below


class AnimepgganError(Exception):
    """The parent of all errors that a user can cause; `str(error)` is the message for them."""

    exit_code = 1


class RecipeError(AnimepgganError):
    """A recipe that cannot be used: syntax, keys, values, or a base that does not fit."""

    exit_code = 2


class DataError(AnimepgganError):
    """A corpus that cannot be used: missing, empty, or with too many bad pictures."""

    exit_code = 3


class ModelError(AnimepgganError):
    """A checkpoint that is missing or damaged, or from which this run cannot go on."""

    exit_code = 4


class HubError(AnimepgganError):
    """A `hub:` specification that is malformed, unknown to the hub, or out of reach."""

    exit_code = 5


class ResourceError(AnimepgganError):
    """Not enough disk or memory."""

    exit_code = 6


class DivergedError(AnimepgganError):
    """A loss or a gradient is not finite, and no weight has seen it; or a run went wrong after it went back."""

    exit_code = 7


class BusyError(AnimepgganError):
    """The output folder belongs to a run that is still going."""

    exit_code = 8


class Interrupted(AnimepgganError):
    """The run was asked to stop and has saved; `exit_code` is 128 plus the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def disk_is_full(error: object) -> bool:
    """Whether `error` says that the disk, or the user's share of it, is full."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    return os.strerror(errno.ENOSPC) in str(error)  # safetensors and the hub's downloads keep the system's words only


def resource_error(error: BaseException) -> ResourceError | None:
    """The words for a full disk, a path that may not be written, or no memory; None when `error` is something else."""
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    where = f": {error.filename}" if isinstance(error, OSError) and error.filename is not None else ""
    if disk_is_full(error):
        return ResourceError(
            f"no space left on the disk{where}\n"
            "what was written before is untouched; free some space and run the same command again"
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ResourceError(f"{os.strerror(number).lower()}{where}\nname a place that you may read and write")
    if (
        isinstance(error, MemoryError)
        or number == errno.ENOMEM
        or (isinstance(error, RuntimeError) and type(error).__name__ == "OutOfMemoryError")
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text)
    ):
        detail = f": {text.strip().splitlines()[0][:200]}" if text.strip() else ""
        return ResourceError(
            f"not enough memory{detail}\nask for less at once: a smaller batch size, count or resolution"
        )
    return None


@contextmanager
def resource_errors() -> Iterator[None]:
    """Raise what the block says of disk or memory as a ResourceError; as `@resource_errors()`, of a public function."""
    try:
        yield
    except AnimepgganError:
        raise
    except Exception as error:
        if (ours := resource_error(error)) is None:
            raise
        raise ours from error
