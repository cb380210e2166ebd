"""Files written whole or not at all, their sha256, locks, the cache folder: for every module that writes to a disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from animepggan.errors import BusyError, RecipeError

PARTIAL = ".partial"
"""The ending of a file that is being written; one that is found later was left by a process that died."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # NFS without lockd, some FUSE mounts


@contextmanager
def replacing(path: Path, *, shared: bool = False, sync: bool = False) -> Iterator[Path]:
    """The name of a file beside `path` to write to; it takes the place of `path` when the block ends without an error.

    Whoever reads `path` sees the old file or the whole new one. `shared`: several processes may write the same `path`
    at once, the last one wins. `sync`: a power cut after the block does not undo it.
    """
    # Short whatever the length of the name, which may be all that the file system takes.
    owner = f".{os.getpid()}" if shared else ""
    partial = path.with_name(f".{_short(path.name)}{owner}{PARTIAL}")
    try:
        yield partial
        if sync:
            sync_file(partial)
        partial.replace(path)
        if sync:
            sync_folder(path.parent)
    finally:
        with suppress(OSError):  # as when the disk is gone: the error on its way says more
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, sync: bool = False) -> None:
    """Replace `path` by a UTF-8 file of `text`; see `replacing`."""
    with replacing(path, sync=sync) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object, *, sync: bool = False) -> None:
    """Replace `path` by a file of `value` as indented JSON; see `replacing`."""
    write_text(path, json.dumps(value, indent=2) + "\n", sync=sync)


def expanded(path: str | Path) -> Path:
    """`path` with `~` spelled out; RecipeError where that is nobody's home, and no file of this name either."""
    whole = Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises a RuntimeError)
    first = whole.parts[0] if whole.parts else ""
    if first.startswith("~") and not os.path.lexists(first):
        raise RecipeError(f"{path}: there is no home folder {first}\n`./{first}` is a file of that name")
    return whole


def hidden_beside(path: Path, ending: str) -> Path:
    """`.NAME<ending>` beside `path`, by a hash where that is longer than file systems take."""
    name = path.name if len(os.fsencode(path.name)) < 200 else _short(path.name)
    return path.with_name(f".{name}{ending}")


def _short(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def make_folder(path: str | Path) -> Path:
    """The folder `path`, made with those above it where they are missing; RecipeError where one of them is a file."""
    folder = expanded(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        file = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        raise RecipeError(f"{file} is a file; name a folder that is not, nor lies below one") from error
    return folder


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Wait until the file's bytes are on the disk, where the file system can do that."""
    with path.open("rb+") as file:
        sync(file.fileno())


def sync(descriptor: int) -> None:
    """Wait until an open file's bytes are on the disk, where the file system can do that."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, *_NO_LOCKS}:
            raise


def sync_folder(path: Path) -> None:
    """Wait until the folder's list of names is on the disk, where the system can do that (Windows cannot)."""
    with suppress(OSError):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextmanager
def locked(path: Path, busy: str | None = None) -> Iterator[None]:
    """Hold the lock file `path` for the time of the block; on a file system that knows no locks, nothing is held.

    Where another process holds it: BusyError with the message `busy`, or without one a wait for that process.
    """
    lock = FileLock(path, timeout=-1 if busy is None else 0)
    held = True
    try:
        with warnings.catch_warnings(action="ignore"):  # filelock warns where it falls back to a file without a lock
            lock.acquire()
    except Timeout:
        assert busy is not None
        raise BusyError(busy) from None
    except NotImplementedError:  # filelock's word for a system that has no locks at all
        held = False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        held = False
    try:
        yield
    finally:
        if held:
            lock.release()


def cache_folder() -> Path:
    """`ANIMEPGGAN_CACHE`, else `animepggan` in the platform's folder for caches, or for temporary files where the user
    has no home."""
    if chosen := os.environ.get("ANIMEPGGAN_CACHE"):
        return expanded(chosen).absolute()
    with suppress(RuntimeError):  # there is no home, and no XDG_CACHE_HOME
        folder = platformdirs.user_cache_path("animepggan", appauthor=False)
        if not str(folder).startswith("~"):  # as older versions have it
            return folder
    return Path(tempfile.gettempdir(), f"animepggan-{os.getuid()}")


def has_home() -> bool:
    """Whether the user has a home folder; in a container a user of any number may have none."""
    return os.path.expanduser("~") != "~"  # noqa: PTH111 (Path's raises)
