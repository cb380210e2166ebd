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


_ADVICE = {
    "EACCES EPERM EROFS": "name a place that you may read and write",
    "ENAMETOOLONG": "choose a shorter name: most file systems take 255 bytes, and a kanji is three",
    "EFBIG": "the file system takes no file as large as that (FAT: 4 GB), or `ulimit -f` allows none",
    "EMFILE ENFILE": "let a process have more of them (`ulimit -n 4096`), or take fewer --workers",
    "ENOLCK EOPNOTSUPP ENOTSUP ENOSYS EINVAL": "the file system there cannot do that; name a place on another",
    "ELOOP EMLINK": "name a place that is no link, or mend the link",
}
_ELSE = "see whether the disk, or the network drive, is still there and whole; then run the same command again"
_OURS = {errno.EBADF, errno.EFAULT, errno.ECHILD, errno.ESRCH, errno.EPIPE}  # say nothing of a disk


def resource_error(error: BaseException) -> ResourceError | RecipeError | None:
    """The words for what the system refuses: a full disk, a place that cannot be read or written, no memory; None where
    `error` is something else. A file where a folder should be is a RecipeError: the name is wrong, not the disk.

    This is for the files of an output, the cache and locks: what reads data raises DataError, what reads models
    ModelError.
    """
    text = str(error)
    ours = isinstance(error, OSError) and type(error).__module__ == "builtins"  # FFmpeg's have numbers of their own
    number = error.errno if ours else None  # type: ignore[attr-defined]
    if isinstance(error, RuntimeError) and text.startswith("Symlink loop"):  # what pathlib says before Python 3.13
        number = errno.ELOOP
    where = f": {error.filename}" if isinstance(error, OSError) and error.filename is not None else ""
    if disk_is_full(error):
        return ResourceError(
            f"no space left on the disk{where}\n"
            "what was written before is untouched; free some space and run the same command again"
        )
    if number in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return RecipeError(f"{os.strerror(number).lower()}{where}\na file is where a folder should be, or the reverse")
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
    if number is not None and number not in _OURS and (where or number != errno.ENOENT):  # of no file: ours
        names = {errno.errorcode.get(number, "")}
        advice = next((advice for words, advice in _ADVICE.items() if names & {*words.split()}), _ELSE)
        return ResourceError(f"{os.strerror(number).lower()}{where}\n{advice}")
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
