"""Pictures in a zip, a tar or a parquet table, read in place, never unpacked."""

from __future__ import annotations

import io
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from animepggan.corpus import parquet
from animepggan.corpus.content import HEAD, is_hidden, judge
from animepggan.corpus.names import printable
from animepggan.corpus.source import EMPTY, READ_ERRORS, Bad, Entry, Item, file_stamp, reading, set_stamp
from animepggan.errors import DataError

_LOCAL_HEADER, _UTF8 = 30, 1 << 11  # bytes before a zip's member; the flag that its name is in UTF-8
_MAX_MEMBER = 256 << 20  # bytes; a picture in an archive is read as a whole
COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
UNREADABLE = (*COMPRESSED_TARS, ".rar", ".cbr", ".7z", ".cb7")
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # what those begin with


def archive_stamp(path: Path) -> str:
    """The stamp of one file as a source."""
    with reading(path):
        status = path.stat()
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


def _judged(name: str, head: Callable[[], bytes]) -> str | None:
    """As `judge` does; hidden ones are none of a corpus' files. A backslash in a name is a separator where it is
    certain not to be the half of a character.
    """
    parts = re.split(r"[/\\]" if name.isascii() else "/", name)
    if any(map(is_hidden, parts)):
        return None

    def begins() -> bytes:
        with suppress(*READ_ERRORS):
            return head()
        return b""

    return judge(PurePosixPath(name).suffix.lower(), begins)


def _decoded(raw: bytes, otherwise: str) -> str:
    """A name from an archive that does not say its encoding: macOS writes UTF-8, Windows in Japan Shift-JIS."""
    for encoding in ("utf-8", "cp932"):
        with suppress(UnicodeDecodeError):
            if (name := raw.decode(encoding)).isprintable():
                return name
    return otherwise


def _item(name: str, why: str, size: int, regular: bool, read: Callable[[], BinaryIO], mark: object) -> Item:
    """A member of an archive, left out where there is a reason `why`; `mark` is another when it has changed."""
    if why:
        return Bad(name, why)
    if not regular:
        return Bad(name, "not a regular file")
    if size <= 0:
        return Bad(name, EMPTY if size == 0 else "damaged in its archive")
    if size > _MAX_MEMBER:
        return Bad(name, f"larger than {_MAX_MEMBER >> 20} MiB")
    return Entry(name, read, file_stamp(size, mark))


def _zip(path: Path) -> Iterator[Item]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    for info in members:
        name = info.orig_filename.partition("\0")[0]  # before Windows takes each backslash for a separator
        if not info.flag_bits & _UTF8:
            name = _decoded(name.encode("cp437"), name)
        if info.is_dir() or (why := _judged(name, partial(_zip_bytes, path, info, HEAD))) is None:
            continue
        regular = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
        yield _item(name, why, info.file_size, regular, partial(_read_zip, path, info), info.CRC)


def _read_zip(path: Path, info: zipfile.ZipInfo) -> BinaryIO:
    data = _zip_bytes(path, info)
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise OSError("damaged in its zip: its checksum is another")
    return io.BytesIO(data)


def _zip_bytes(path: Path, info: zipfile.ZipInfo, most: int | None = None) -> bytes:
    """A member, or its first bytes. The file is not held open: a folder may have more zips than a process may files."""
    if info.flag_bits & 1:
        raise OSError("encrypted in its zip")
    # What a member swells to is its own claim, and of zip's methods only these two stop where they are told to.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise OSError("neither stored nor deflated in its zip")
    size = info.file_size + 1 if most is None else most
    if info.header_offset > path.stat().st_size:
        raise OSError("damaged in its zip: it lies beyond the end")
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER).ljust(_LOCAL_HEADER, b"\0")
        name, extra = struct.unpack_from("<HH", header, 26)
        encoding = "utf-8" if info.flag_bits & _UTF8 else "cp437"
        if not header.startswith(b"PK\3\4") or file.read(name) != info.orig_filename.encode(encoding):
            raise OSError("damaged in its zip: it is not where it should be")
        file.seek(extra, io.SEEK_CUR)
        packed = file.read(min(info.compress_size, _MAX_MEMBER if most is None else 4 * most))
    if info.compress_type == zipfile.ZIP_STORED:
        return packed[:size]
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size)


def _tar(path: Path) -> Iterator[Item]:
    with tarfile.open(path, "r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # a million of them would stay
            regular = member.isreg() and not member.issparse()
            head = partial(_tar_bytes, path, member.offset_data, min(member.size, HEAD) if regular else 0)
            name = _decoded(member.name.encode("utf-8", "surrogateescape"), member.name)
            if not member.isdir() and (why := _judged(name, head)) is not None:
                read = partial(_read_tar, path, member.offset_data, member.size)
                yield _item(name, why, member.size, regular, read, member.mtime)
        end = archive.offset  # a damaged header looks like the end to tarfile
    with path.open("rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"damaged at byte {end:,}")


def _read_tar(path: Path, offset: int, size: int) -> BinaryIO:
    data = _tar_bytes(path, offset, size)
    if len(data) < size:
        raise OSError("cut off: its tar ends too early")
    return io.BytesIO(data)


def _tar_bytes(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


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
            "a column of them holds {bytes, path}, as the hub's `datasets` library writes it, or bytes"
        )
    status = path.stat()
    width = len(str(max(0, len(table) - 1)))
    for row in range(len(table)):
        stamp = file_stamp(status.st_size, status.st_mtime_ns, row)
        yield Entry(f"{row:0{width}}", partial(table.read, row), stamp)


_READERS: dict[str, Callable[[Path], Iterator[Item]]] = {
    ".zip": _zip,
    ".cbz": _zip,
    ".tar": _tar,
    ".cbt": _tar,
    parquet.ENDING: _parquet,
}
ENDINGS = frozenset(_READERS)
