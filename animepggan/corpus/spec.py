"""SPECs: what `--data` and the recipe key `data` may name, and the picture files that each stands for.

A folder (recursive), a .zip, .tar or .parquet (read in place, never unpacked), a `corpus.jsonl`, `demo:general`,
`demo:yui`, or `hub:datasets/owner/name[@revision][:sub]`. A picture is known by its ending; whether it decodes is for
`decode` to find. Nothing is listed before somebody asks: `Source.stamp` tells whether a corpus has changed for less.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice, pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from animepggan import hub
from animepggan.corpus import description, parquet
from animepggan.corpus.names import printable as printable
from animepggan.errors import DataError, HubError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"})
ARCHIVES = frozenset({".zip", ".tar", parquet.ENDING})
TAKES = (
    "--data takes a folder, a zip, a tar, a parquet, a corpus.jsonl, demo:general, demo:yui or hub:datasets/owner/name"
)

READ_ERRORS = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What opening an entry may raise; NotImplementedError (a rare compression) is a RuntimeError."""

_EMPTY = "empty (0 bytes)"
_MAX_MEMBER = 256 << 20  # bytes; a picture in an archive is read as a whole
_DEMOS: dict[str, Literal["general", "yui"]] = {"demo:general": "general", "demo:yui": "yui"}
_COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture file: its name in the corpus, and how to open it (any number of times, from any thread)."""

    name: str  # path inside the corpus, `/` between its parts; no two are the same
    open: Callable[[], BinaryIO]
    stamp: int = 0  # 64 bits, another one when the file may have changed: from sizes, times and checksums, unopened
    cluster: int | None = None  # the same number for copies and near copies; None: a cluster of its own
    weight: float = 1.0  # over 0; how often it is drawn among its cluster's


@dataclass(frozen=True, slots=True)
class Bad:
    """A file that is not used, and why; as a string it is safe to print."""

    name: str
    reason: str
    by_choice: bool = False  # a description leaves it out; nothing is wrong with it

    def __str__(self) -> str:
        return f"{printable(self.name)}: {printable(self.reason)}"


Found = Entry | Bad


@dataclass(frozen=True, eq=False)
class Source:
    """The picture files that a SPEC stands for; they are listed when first asked for, and then kept."""

    name: str  # short, fit for a folder's name
    spec: str  # as given
    commit: str | None  # of the hub repository
    base: str  # the SPEC that names are relative to: a description's is another's, the hub's names the commit
    find: Callable[[], Iterable[Found]] = field(repr=False)
    sign: Callable[[], str] | None = field(default=None, repr=False)  # None: from the entries

    @classmethod
    def of(cls, entries: Iterable[Entry], skipped: Iterable[Bad] = (), *, name: str = "set") -> Source:
        """A source of these entries."""
        found: list[Found] = [*entries, *skipped]
        return cls(name, name, None, name, lambda: found)

    @cached_property
    def _found(self) -> tuple[tuple[Entry, ...], tuple[Bad, ...]]:
        entries: list[Entry] = []
        skipped: list[Bad] = []
        for item in self.find():
            if isinstance(item, Entry):
                entries.append(item)
            else:
                skipped.append(item)
        entries.sort(key=lambda entry: entry.name)
        skipped.sort(key=lambda bad: bad.name)
        return tuple(_distinct(entries)), tuple(skipped)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The pictures, sorted by name. The first call may raise DataError."""
        return self._found[0]

    @property
    def skipped(self) -> tuple[Bad, ...]:
        """What is left out unopened, files with a picture's ending and rows of a description, sorted by name."""
        return self._found[1]

    @cached_property
    def stamp(self) -> str:
        """32 hexadecimal digits, others when a picture may have come, gone or changed.

        From names, sizes and times, in one pass that opens no picture and keeps no list. A changed stamp does not say
        that pixels have changed: a copied folder has new times. May raise DataError.
        """
        return (
            self.sign()
            if self.sign
            else _sum_up((entry.name, entry.stamp, entry.cluster, entry.weight) for entry in self.entries)
        )

    def only(self, wanted: Callable[[Entry], bool]) -> Source:
        """This source with the entries for which `wanted` is true."""
        return replace(self, find=lambda: [*filter(wanted, self.entries), *self.skipped], sign=None)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def _distinct(entries: list[Entry]) -> list[Entry]:
    """Sorted entries with a number behind names that an archive holds more than once."""
    if all(one.name != two.name for one, two in pairwise(entries)):
        return entries
    taken = {entry.name for entry in entries}
    seen: dict[str, int] = {}
    for index, entry in enumerate(entries):
        count = seen.get(entry.name, 0) + 1
        if count > 1:
            while (name := f"{entry.name}#{count}") in taken:
                count += 1
            taken.add(name)
            entries[index] = replace(entry, name=name)
        seen[entry.name] = count
    return sorted(entries, key=lambda entry: entry.name)


def stamp_of(*facts: object) -> int:
    """64 bits from what is known of a file without opening it (numbers and strings)."""
    return int.from_bytes(hashlib.blake2b(repr(facts).encode(), digest_size=8).digest(), "big")


def _sum_up(facts: Iterable[tuple[object, ...]]) -> str:
    """A digest of `facts` in any order, however many: they are added up, so none is kept."""
    total = count = 0
    for fact in facts:
        text = "\0".join(map(str, fact)).encode("utf-8", "surrogatepass")
        total += int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")
        count += 1
    return hashlib.blake2b(f"{count} {total % (1 << 128)}".encode(), digest_size=16).hexdigest()


def resolve(spec: str) -> Source:
    """Find what a SPEC stands for. Raises DataError, or HubError for `hub:`; so may listing its pictures, later."""
    if spec.startswith("demo:"):
        return _demo(spec)
    if spec.startswith("hub:"):
        return _hub(spec)
    if not spec:
        raise DataError(f"the data is an empty name\n{TAKES}")
    given = os.path.expanduser(spec)  # noqa: PTH111 (Path.expanduser raises where there is no such user)
    shown = printable(spec)
    try:
        path = Path(os.path.abspath(given))  # noqa: PTH100 (no links are followed)
        mode = path.stat().st_mode
    except OSError as error:
        raise _missing(spec, error) from error
    except ValueError as error:  # a NUL in the name
        raise DataError(f"{shown} is not a path\n{TAKES}") from error
    if stat.S_ISDIR(mode):
        return _of_folder(path, path.resolve().name, spec)
    if stat.S_ISREG(mode) and path.suffix.lower() in ARCHIVES:
        return _of_file(path, spec)
    if stat.S_ISREG(mode) and path.suffix.lower() == ".jsonl":
        return _of_description(path, spec)
    if path.name.lower().endswith(_COMPRESSED_TARS):
        raise DataError(f"{shown}: a compressed tar cannot be read in place: decompress it to a plain .tar first")
    raise DataError(f"{shown} is neither a folder nor a .zip, .tar, .parquet or .jsonl\n{TAKES}")


def _missing(spec: str, error: OSError) -> DataError:
    shown = printable(spec)
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataError(f"{shown}: {error.strerror or error}\n{TAKES}")
    message = f"{shown}: there is no such folder or file\n{TAKES}"
    if not Path(spec).is_absolute() and PurePosixPath(spec).parts[:1] == ("data",):
        message += f"\nsee the README's table of corpora for how to get {shown}"
    return DataError(message)


def _short(name: str) -> str:
    """A run's folder is named after it: no character that a shell, a terminal or another system trips over."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"


def _of_folder(path: Path, name: str, spec: str) -> Source:
    return Source(_short(name), spec, None, spec, partial(_folder, path), partial(_sign_folder, path))


def _of_file(path: Path, spec: str) -> Source:
    return Source(_short(path.stem), spec, None, spec, partial(_archive, path), partial(_sign_file, path))


def _demo(spec: str) -> Source:
    kind = _DEMOS.get(spec)
    if kind is None:
        raise DataError(f"{printable(spec)}: there is no such demo corpus; there are demo:general and demo:yui")
    from animepggan.corpus import demo

    return _of_folder(demo.cached(kind), kind, spec)


# ---------------------------------------------------------------- the hub


def _hub(spec: str) -> Source:
    parsed = hub.parse(spec)
    if parsed.kind != "dataset":
        raise HubError(f"{parsed} names a model, not pictures\npictures come from hub:datasets/owner/name")
    pictures, archives = _patterns(PICTURES), _patterns(ARCHIVES)
    whole = parsed.subfolder is None
    bring = partial(hub.resolve, spec, wanted="pictures, zips, tars or parquet tables of pictures")
    # Archives beside loose pictures hold the set; the loose ones are samples for the repository's page.
    local = bring(allow_patterns=pictures + archives, prefer=archives if whole else ())
    if whole and _are_mere_tables(local.path):
        local, whole = bring(allow_patterns=pictures), False
    base = str(replace(parsed, revision=local.revision))
    if local.path.is_file():
        find: Callable[[], Iterable[Found]] = partial(_file, local.path)
        sign = partial(_sign_file, local.path)
    else:
        # The client's cache is made of links from the snapshot to its store.
        find = partial(_folder, local.path, prefer_archives=whole, trust_links=True)
        sign = partial(_sign_folder, local.path, trust_links=True)
    return Source(_short(parsed.repo.rpartition("/")[2]), spec, local.revision, base, find, sign)


def _patterns(endings: frozenset[str]) -> list[str]:
    """Globs for file names with these endings in any case."""
    return ["*" + "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in ending) for ending in sorted(endings)]


def _are_mere_tables(folder: Path) -> bool:
    """Whether a snapshot's archives are all parquet tables without pictures: those describe loose ones."""
    found = [
        (name, ending)
        for name, ending, _, _, reason in _walk(folder, trust_links=True)
        if ending in ARCHIVES and not reason
    ]
    return bool(found) and all(
        ending == parquet.ENDING and _table(folder / name).column is None for name, ending in found
    )


# ---------------------------------------------------------------- folders


_File = tuple[str, str, int, int, str | None]
"""A file that `_walk` came by, unopened: name, ending, bytes, nanoseconds, why it is left out. A mere tuple: of a
million files an object each would cost as much as asking the system for them."""


def _walk(root: Path, *, trust_links: bool = False) -> Iterator[_File]:
    """Pictures and archives below `root`, and what is left out, folder by folder, in no order; nothing is kept."""
    real = root.resolve()
    taken = PICTURES | ARCHIVES
    folders = [""]
    while folders:
        folder = folders.pop()
        before = f"{folder}/" if folder else ""
        try:
            with os.scandir(os.path.join(root, folder)) as scan:  # noqa: PTH118 (a million times: Path is slow)
                for item in scan:
                    name = item.name
                    if name[0] == ".":
                        continue
                    ending = name[name.rfind(".") :].lower()
                    name = before + name
                    if ending in taken and item.is_file(follow_symlinks=False):
                        try:
                            status = item.stat(follow_symlinks=False)
                        except OSError as error:
                            yield name, ending, 0, 0, f"cannot be looked at: {error.strerror or error}"
                            continue
                        size = status.st_size
                        yield name, ending, size, status.st_mtime_ns, None if size else _EMPTY
                    elif item.is_dir(follow_symlinks=False):
                        folders.append(name)
                    elif item.is_symlink() and os.path.isdir(item.path):  # noqa: PTH112
                        yield name, ending, 0, 0, "a link to a folder"
                    elif ending in taken:
                        yield _linked(item, name, ending, real, trust_links)
        except OSError as error:
            if not folder:
                raise DataError(f"{printable(str(root))}: {error.strerror or error}") from error
            yield folder, "", 0, 0, f"a folder that cannot be read: {error.strerror or error}"


def _linked(item: os.DirEntry[str], name: str, ending: str, real_root: Path, trust_links: bool) -> _File:
    """What is no plain file: a link to one, or nothing to read from."""
    try:
        if item.is_symlink() and not trust_links and not Path(item.path).resolve(strict=True).is_relative_to(real_root):
            return name, ending, 0, 0, "a link that leads outside"
        status = item.stat()
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        return name, ending, 0, 0, "a link that leads nowhere"
    if not stat.S_ISREG(status.st_mode):
        return name, ending, 0, 0, "not a regular file"
    return name, ending, status.st_size, status.st_mtime_ns, None if status.st_size else _EMPTY


def _folder(root: Path, *, prefer_archives: bool = False, trust_links: bool = False) -> Iterator[Found]:
    """All pictures below `root`; where there are none (or always, with `prefer_archives`) those of its archives."""
    archives: list[str] = []
    pictures: list[Entry] = []
    folder = str(root)
    for name, ending, size, time, reason in _walk(root, trust_links=trust_links):
        if reason:
            yield Bad(name, reason)
        elif ending in PICTURES:
            pictures.append(Entry(name, partial(_read_file, folder, name), stamp_of(size, time)))
        else:
            archives.append(name)
    if not archives or (pictures and not prefer_archives):
        yield from pictures
        return
    for name in archives:
        path = root / name
        if path.suffix.lower() == parquet.ENDING and _table(path).column is None:
            yield Bad(name, "a table without pictures")
            continue
        for item in _archive(path):
            yield replace(item, name=f"{name}/{item.name}")


def _sign_folder(root: Path, *, trust_links: bool = False) -> str:
    """The stamp of a folder. In the order in which the system lists it, which stays while nothing changes: in any other
    way of putting a million files together the sum takes longer than the listing.
    """
    digest = hashlib.blake2b(digest_size=16)
    lines = (
        f"{name}\0{size}\0{time}\0{reason}\0" for name, _, size, time, reason in _walk(root, trust_links=trust_links)
    )
    while block := "".join(islice(lines, 1024)):
        digest.update(block.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _read_file(root: str, name: str) -> BinaryIO:
    return open(os.path.join(root, name), "rb", opener=_regular)  # noqa: PTH118 (Path.open takes no opener)


def _regular(path: str, flags: int) -> int:
    """Open `path` without waiting for anybody: what was a file when it was listed may be a pipe by now."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return descriptor


# ---------------------------------------------------------------- archives


def _file(path: Path) -> Iterator[Found]:
    """One file of the hub's: an archive, or a picture."""
    if path.suffix.lower() in ARCHIVES:
        yield from _archive(path)
    else:
        status = path.stat()
        yield Entry(
            path.name, partial(_read_file, str(path.parent), path.name), stamp_of(status.st_size, status.st_mtime_ns)
        )


def _sign_file(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{printable(str(path))}: {error.strerror or error}") from error
    return _sum_up([(status.st_size, status.st_mtime_ns)])


def _archive(path: Path) -> Iterator[Found]:
    shown = printable(str(path))
    try:
        yield from _READERS[path.suffix.lower()](path)
    except OSError as error:
        raise DataError(f"{shown}: {error.strerror or error}") from error
    except tarfile.ReadError as error:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
            raise DataError(
                f"{shown}: a compressed tar cannot be read in place: decompress it to a plain .tar first"
            ) from error
        raise _damaged(path, error) from error
    except (zipfile.BadZipFile, tarfile.TarError, ValueError, struct.error, NotImplementedError, EOFError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    shown, kind = printable(str(path)), path.suffix[1:].lower()
    return DataError(f"{shown}: not a {kind}, or damaged: {printable(str(error))}")


def _unfit_member(name: str, size: int) -> str | None:
    if size <= 0:
        return _EMPTY if size == 0 else "damaged in its archive"
    return f"larger than {_MAX_MEMBER >> 20} MiB" if size > _MAX_MEMBER else None


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in re.split(r"[/\\]", name))


def _zip(path: Path) -> Iterator[Found]:
    archive = zipfile.ZipFile(path)
    lock = threading.Lock()
    for info in archive.infolist():
        name = info.filename
        if info.is_dir() or _hidden(name) or PurePosixPath(name).suffix.lower() not in PICTURES:
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        reason = _unfit_member(name, info.file_size) if kind in (0, stat.S_IFREG) else "not a regular file"
        if reason:
            yield Bad(name, reason)
        else:
            yield Entry(name, partial(_read_zip, archive, info, lock), stamp_of(info.file_size, info.CRC))


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


def _tar(path: Path) -> Iterator[Found]:
    with tarfile.open(path, "r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # a million of them would stay
            name = member.name
            if member.isdir() or _hidden(name) or PurePosixPath(name).suffix.lower() not in PICTURES:
                continue
            regular = member.isreg() and not member.issparse()
            reason = _unfit_member(name, member.size) if regular else "not a regular file"
            if reason:
                yield Bad(name, reason)
            else:
                read = partial(_read_tar, path, member.offset_data, member.size)
                yield Entry(name, read, stamp_of(member.size, member.mtime))
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


def _parquet(path: Path) -> Iterator[Found]:
    table = _table(path)
    if table.column is None:
        raise DataError(
            f"{printable(str(path))}: a table without pictures\n"
            "a column of them holds {bytes, path}, as the hub's `datasets` library writes it"
        )
    status = path.stat()
    width = len(str(max(0, len(table) - 1)))
    for row in range(len(table)):
        stamp = stamp_of(status.st_size, status.st_mtime_ns, row)
        yield Entry(f"{row:0{width}}", partial(table.read, row), stamp)


_READERS: dict[str, Callable[[Path], Iterator[Found]]] = {".zip": _zip, ".tar": _tar, parquet.ENDING: _parquet}


# ---------------------------------------------------------------- descriptions


def _of_description(path: Path, spec: str) -> Source:
    base = description.base_of(path)
    try:
        pictures = resolve(base)
    except DataError as error:
        raise DataError(
            f"{printable(spec)}: its pictures are not there: {str(error).splitlines()[0]}\n"
            f"say where they are in {printable(path.stem)}.source.json"
        ) from error
    # OUT/corpus.jsonl is what curation writes: the folder is what tells one from another.
    name = path.parent.name if path.stem == "corpus" else path.stem
    find, sign = partial(_described, path, pictures), partial(_sign_description, path, pictures)
    return Source(_short(name), spec, pictures.commit, pictures.base, find, sign)


def _described(path: Path, pictures: Source) -> Iterator[Found]:
    """The pictures that the description at `path` trains on."""
    entries = {entry.name: entry for entry in pictures.entries}
    skipped = {bad.name: bad for bad in pictures.skipped}
    for line, row in description.read(path):
        if not row.trained:
            why = f"its weight is {row.weight:g}" if row.status in description.TRAINED else row.status
            told = f" ({row.reason})" if row.reason else ""
            yield Bad(row.path, f"left out by {path.name}: {why}{told}", by_choice=True)
        elif row.path in entries:
            yield replace(entries[row.path], cluster=row.cluster, weight=row.weight)
        elif row.path in skipped:
            yield skipped[row.path]
        else:  # counted among the bad ones: some may be gone, but a wrong folder must not go unnoticed
            reason = f"there is no such picture in {pictures.spec} ({path.name}, line {line})"
            yield Entry(row.path, partial(_absent, reason), 0, row.cluster, row.weight)


def _absent(reason: str) -> BinaryIO:
    raise OSError(reason)


def _sign_description(path: Path, pictures: Source) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{printable(str(path))}: {error.strerror or error}") from error
    return _sum_up([(digest, pictures.stamp)])
