"""Picture files below a folder: listed quickly, no link followed out of it, none opened before it is asked for.

Where a folder holds no pictures, those in its archives are meant.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from animepggan.corpus import archives, parquet
from animepggan.corpus.content import HEAD, NOTES, PICTURES, is_hidden, judge
from animepggan.corpus.names import printable
from animepggan.corpus.source import EMPTY, Bad, Entry, Item, file_stamp
from animepggan.errors import DataError

File = tuple[str, str, int, int, str | None]  # a million objects would cost as much as asking the system for the files
"""A file that was come by, unopened: name, ending ("": a folder), bytes, nanoseconds, why it cannot be read."""


def walk(root: Path, *, trust_links: bool = False) -> Iterator[File]:
    """Files below `root`, hidden ones aside, folder by folder, in no order; nothing is kept."""
    real = root.resolve()
    folders = [""]
    while folders:
        folder = folders.pop()
        before = f"{folder}/" if folder else ""
        try:
            with os.scandir(os.path.join(root, folder)) as scan:  # noqa: PTH118 (a million times: Path is slow)
                for item in scan:
                    if is_hidden(item.name):
                        continue
                    name, ending = before + item.name, item.name[item.name.rfind(".") :].lower()
                    try:
                        if item.is_file(follow_symlinks=False):
                            status = item.stat(follow_symlinks=False)
                            size = status.st_size
                            yield name, ending, size, status.st_mtime_ns, None if size else EMPTY
                        elif item.is_dir(follow_symlinks=False):
                            folders.append(name)
                        elif item.is_symlink() and os.path.isdir(item.path):  # noqa: PTH112
                            yield name, "", 0, 0, "a link to a folder"
                        else:
                            yield _linked(item, name, ending, real, trust_links)
                    except OSError as error:
                        yield name, ending, 0, 0, f"cannot be looked at: {error.strerror or error}"
        except OSError as error:
            if not folder:
                raise DataError(f"{printable(str(root))}: {error.strerror or error}") from error
            yield folder, "", 0, 0, f"a folder that cannot be read: {error.strerror or error}"


def _linked(item: os.DirEntry[str], name: str, ending: str, real_root: Path, trust_links: bool) -> File:
    """What is no plain file: a link to one, or nothing to read from."""
    try:
        if item.is_symlink() and not trust_links:
            target = Path(item.path).resolve(strict=True)
            if not target.is_relative_to(real_root) and not _is_of_the_hub(target):
                return name, ending, 0, 0, "a link that leads outside"
        status = item.stat()
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        return name, ending, 0, 0, "a link that leads nowhere"
    if not stat.S_ISREG(status.st_mode):
        return name, ending, 0, 0, "not a regular file"
    return name, ending, status.st_size, status.st_mtime_ns, None if status.st_size else EMPTY


def _is_of_the_hub(target: Path) -> bool:
    """Whether it lies in a cache of the hub's client, whose snapshots are made of links."""
    return target.parent.name == "blobs" and (target.parent.parent / "snapshots").is_dir()


def list_folder(root: Path, *, prefer_archives: bool = False, trust_links: bool = False) -> Iterator[Item]:
    """All pictures below `root`; where there are none (or always, with `prefer_archives`) those of its archives.

    Files that are none by their ending are looked into.
    """
    packed: list[str] = []
    pictures: list[Entry] = []
    folder = str(root)
    for name, ending, size, time, reason in walk(root, trust_links=trust_links):
        if reason is None and ending not in archives.ENDINGS:
            reason = judge(ending, partial(_head, folder, name))
            if reason is None and name.lower().endswith(archives.UNREADABLE):
                reason = "an archive of a kind that cannot be read in place: unpack it"
        elif reason and ending and ending not in PICTURES | archives.ENDINGS:
            continue
        if reason is None and ending in archives.ENDINGS:
            packed.append(name)
        elif reason:
            yield Bad(name, reason)
        elif reason is not None:
            pictures.append(Entry(name, partial(_read, folder, name), file_stamp(size, time)))
    beside = bool(pictures) and not prefer_archives
    if beside or not packed:
        yield from pictures
    for name in packed:
        if beside:
            if Path(name).suffix.lower() != parquet.ENDING:  # which describes the pictures
                yield Bad(name, "an archive beside pictures: name it to take what is in it")
            continue
        try:
            if archives.is_mere_table(root / name):
                yield Bad(name, "a table without pictures")
            else:
                items = archives.list_archive(root / name)
                yield from (replace(item, name=f"{name}/{item.name}") for item in items)
        except DataError as error:  # the others are read all the same
            yield Bad(name, "; ".join(str(error).removeprefix(f"{printable(str(root / name))}: ").splitlines()))


def _head(root: str, name: str) -> bytes:
    """The first bytes of a file; none where they cannot be read."""
    with suppress(OSError), _read(root, name) as file:
        return file.read(HEAD)
    return b""


def folder_stamp(root: Path, *, trust_links: bool = False) -> str:
    """The stamp of a folder, in the order in which the system lists it: sorting would take longer than the listing."""
    digest = hashlib.blake2b(digest_size=16)
    files = walk(root, trust_links=trust_links)
    lines = (f"{name}\0{size}\0{time}\0{reason}\0" for name, ending, size, time, reason in files if ending not in NOTES)
    while block := "".join(islice(lines, 1024)):
        digest.update(block.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _read(root: str, name: str) -> BinaryIO:
    return open(os.path.join(root, name), "rb", opener=_regular)  # noqa: PTH118 (Path.open takes no opener)


def _regular(path: str, flags: int) -> int:
    """Open `path` without waiting for anybody: what was a file when it was listed may be a pipe by now."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return descriptor


def list_file(path: Path) -> Iterator[Item]:
    """One picture."""
    status = path.stat()
    yield Entry(path.name, partial(_read, str(path.parent), path.name), file_stamp(status.st_size, status.st_mtime_ns))
