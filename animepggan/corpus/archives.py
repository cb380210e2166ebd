"""Pictures in a zip, a tar or a parquet table, read in place, never unpacked."""

from __future__ import annotations

import io
import re
import stat
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from animepggan.corpus import parquet
from animepggan.corpus.names import printable
from animepggan.corpus.source import EMPTY, PICTURES, Bad, Entry, Item, file_stamp, set_stamp
from animepggan.errors import DataError

_MAX_MEMBER = 256 << 20  # bytes; a picture in an archive is read as a whole
COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # what those begin with


def archive_stamp(path: Path) -> str:
    """The stamp of one file as a source."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{printable(str(path))}: {error.strerror or error}") from error
    return set_stamp([(status.st_size, status.st_mtime_ns)])


def compressed(name: str) -> DataError:
    """The words for a tar that cannot be read in place."""
    return DataError(
        f"{printable(name)}: a compressed tar cannot be read in place: decompress it to a plain .tar first"
    )


def list_archive(path: Path) -> Iterator[Item]:
    """The pictures in an archive, of an ending in ENDINGS; DataError where it is damaged."""
    try:
        yield from _READERS[path.suffix.lower()](path)
    except OSError as error:
        raise DataError(f"{printable(str(path))}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, tarfile.TarError, ValueError, struct.error, NotImplementedError, EOFError) as error:
        with path.open("rb") as file:
            magic = file.read(6)
        if isinstance(error, tarfile.ReadError) and magic.startswith(_MAGIC):
            raise compressed(str(path)) from error
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    shown, kind = printable(str(path)), path.suffix[1:].lower()
    return DataError(f"{shown}: not a {kind}, or damaged: {printable(str(error))}")


def _is_picture(name: str) -> bool:
    hidden = any(part.startswith(".") and part not in (".", "..") for part in re.split(r"[/\\]", name))
    return not hidden and PurePosixPath(name).suffix.lower() in PICTURES


def _item(name: str, size: int, regular: bool, read: Callable[[], BinaryIO], mark: object) -> Item:
    """A member of an archive; `mark` is another when it has changed."""
    if not regular:
        return Bad(name, "not a regular file")
    if size <= 0:
        return Bad(name, EMPTY if size == 0 else "damaged in its archive")
    if size > _MAX_MEMBER:
        return Bad(name, f"larger than {_MAX_MEMBER >> 20} MiB")
    return Entry(name, read, file_stamp(size, mark))


def _zip(path: Path) -> Iterator[Item]:
    archive = zipfile.ZipFile(path)
    lock = threading.Lock()
    for info in archive.infolist():
        if _is_picture(info.filename) and not info.is_dir():
            regular = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
            yield _item(info.filename, info.file_size, regular, partial(_read_zip, archive, info, lock), info.CRC)


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, lock: threading.Lock) -> BinaryIO:
    if info.flag_bits & 1:
        raise OSError("encrypted in its zip")
    # What a member swells to is its own claim, and of zip's methods only these two stop where they are told to.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise OSError("neither stored nor deflated in its zip")
    # Opening and closing a member touch counters that ZipFile does not guard; reading is guarded by ZipFile.
    try:
        with lock:
            member = archive.open(info)
        try:
            data = member.read(info.file_size + 1)
        finally:
            with lock:
                member.close()
    except (ValueError, OverflowError, struct.error) as error:
        raise OSError(f"damaged in its zip: {error}") from error
    return io.BytesIO(data)


def _tar(path: Path) -> Iterator[Item]:
    with tarfile.open(path, "r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # a million of them would stay
            if _is_picture(member.name) and not member.isdir():
                regular = member.isreg() and not member.issparse()
                read = partial(_read_tar, path, member.offset_data, member.size)
                yield _item(member.name, member.size, regular, read, member.mtime)
        end = archive.offset  # a damaged header looks like the end to tarfile
    with path.open("rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"damaged at byte {end:,}")


def _read_tar(path: Path, offset: int, size: int) -> BinaryIO:
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise OSError("cut off: its tar ends too early")
    return io.BytesIO(data)


def _table(path: Path) -> parquet.Table:
    try:
        return parquet.Table(path)
    except (OSError, ValueError) as error:  # pyarrow's own are of these
        raise _damaged(path, error) from error


def is_mere_table(path: Path) -> bool:
    """Whether an archive is a parquet table without pictures."""
    return path.suffix.lower() == parquet.ENDING and _table(path).column is None


def _parquet(path: Path) -> Iterator[Item]:
    table = _table(path)
    if table.column is None:
        raise DataError(
            f"{printable(str(path))}: a table without pictures\n"
            "a column of them holds {bytes, path}, as the hub's `datasets` library writes it"
        )
    status = path.stat()
    width = len(str(max(0, len(table) - 1)))
    for row in range(len(table)):
        stamp = file_stamp(status.st_size, status.st_mtime_ns, row)
        yield Entry(f"{row:0{width}}", partial(table.read, row), stamp)


_READERS: dict[str, Callable[[Path], Iterator[Item]]] = {".zip": _zip, ".tar": _tar, parquet.ENDING: _parquet}
ENDINGS = frozenset(_READERS)
