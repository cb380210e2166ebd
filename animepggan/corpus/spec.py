"""SPECs: what `--data` and the recipe key `data` may name, and the picture files that each stands for.

A folder (recursive), a .zip or .tar (read in place, never unpacked), `demo:general`, `demo:yui`, or
`hub:datasets/owner/name[@revision][:sub]`. A picture is known by its ending; whether it decodes is for `decode` to
find.
"""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from animepggan import hub
from animepggan.errors import DataError, HubError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"})
ARCHIVES = frozenset({".zip", ".tar"})
TAKES = "--data takes a folder, a zip, a tar, demo:general, demo:yui or hub:datasets/owner/name"

READ_ERRORS = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What opening an entry may raise; NotImplementedError (a rare compression) is a RuntimeError."""

_MAX_MEMBER = 256 << 20  # bytes; a picture in an archive is read as a whole
_DEMOS: dict[str, Literal["general", "yui"]] = {"demo:general": "general", "demo:yui": "yui"}
_COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")


@dataclass(frozen=True)
class Entry:
    """A picture file: its name in the corpus, and how to open it (any number of times, from any thread)."""

    name: str  # path inside the corpus, `/` between its parts
    open: Callable[[], BinaryIO]


@dataclass(frozen=True)
class Bad:
    """A file that is not used, and why; as a string it is safe to print."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.name)}: {printable(self.reason)}"


@dataclass(frozen=True)
class Source:
    """The picture files that a SPEC stands for, sorted by name."""

    name: str  # short, fit for a folder's name
    spec: str  # as given
    commit: str | None  # of the hub repository
    entries: tuple[Entry, ...]
    skipped: tuple[Bad, ...] = ()  # files with a picture's ending that are left out unopened

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def printable(text: str, limit: int = 160) -> str:
    """`text` on one line, with everything that is not printable escaped, cut after `limit` characters."""
    escaped = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text[: limit + 1]
    )
    return escaped if len(escaped) <= limit else escaped[: limit - 3] + "..."


def resolve(spec: str) -> Source:
    """Find the picture files of a SPEC. Raises DataError, or HubError for `hub:`."""
    if spec.startswith("demo:"):
        return _demo(spec)
    if spec.startswith("hub:"):
        return _hub(spec)
    if not spec:
        raise DataError(f"the data is an empty name\n{TAKES}")
    path = Path(os.path.expanduser(spec))  # noqa: PTH111 (Path.expanduser raises where there is no such user)
    shown = printable(spec)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _missing(spec, error) from error
    except ValueError as error:  # a NUL in the name
        raise DataError(f"{shown} is not a path\n{TAKES}") from error
    if stat.S_ISDIR(mode):
        entries, skipped = _folder(path, prefer_archives=False, trust_links=False)
    elif path.suffix.lower() in ARCHIVES and stat.S_ISREG(mode):
        entries, skipped = _archive(path)
    elif path.name.lower().endswith(_COMPRESSED_TARS):
        raise DataError(f"{shown}: a compressed tar cannot be read in place: decompress it to a plain .tar first")
    elif path.suffix.lower() == ".jsonl":
        raise DataError(f"{shown}: corpus descriptions cannot be read yet: give the folder that it describes\n{TAKES}")
    else:
        raise DataError(f"{shown} is neither a folder nor a .zip or .tar\n{TAKES}")
    return _source(path.resolve().name if stat.S_ISDIR(mode) else path.stem, spec, None, entries, skipped)


def _missing(spec: str, error: OSError) -> DataError:
    shown = printable(spec)
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataError(f"{shown}: {error.strerror or error}\n{TAKES}")
    message = f"{shown}: there is no such folder or file\n{TAKES}"
    if not Path(spec).is_absolute() and PurePosixPath(spec).parts[:1] == ("data",):
        message += f"\nsee the README's table of corpora for how to get {shown}"
    return DataError(message)


def _source(name: str, spec: str, commit: str | None, entries: list[Entry], skipped: list[Bad]) -> Source:
    # A run's folder is named after it: no character that a shell, a terminal or another system trips over.
    short = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
    entries.sort(key=lambda entry: entry.name)
    skipped.sort(key=lambda bad: bad.name)
    return Source(short, spec, commit, tuple(entries), tuple(skipped))


def _demo(spec: str) -> Source:
    kind = _DEMOS.get(spec)
    if kind is None:
        raise DataError(f"{printable(spec)}: there is no such demo corpus; there are demo:general and demo:yui")
    from animepggan.corpus import demo

    entries, skipped = _folder(demo.cached(kind), prefer_archives=False, trust_links=False)
    return _source(kind, spec, None, entries, skipped)


def _hub(spec: str) -> Source:
    parsed = hub.parse(spec)
    if parsed.kind != "dataset":
        raise HubError(f"{parsed} names a model, not pictures\npictures come from hub:datasets/owner/name")
    pictures, archives = _patterns(PICTURES), _patterns(ARCHIVES)
    whole = parsed.subfolder is None
    local = hub.resolve(
        spec,
        allow_patterns=pictures + archives,
        # Archives beside loose pictures hold the set; the loose ones are samples for the repository's page.
        prefer=archives if whole else (),
        wanted="pictures, zips or tars (other forms, such as parquet, cannot be read yet)",
    )
    if local.path.is_file():
        if local.path.suffix.lower() in ARCHIVES:
            entries, skipped = _archive(local.path)
        else:
            entries, skipped = [Entry(local.path.name, partial(_read_file, local.path))], []
    else:
        # The client's cache is made of links from the snapshot to its store.
        entries, skipped = _folder(local.path, prefer_archives=whole, trust_links=True)
    return _source(parsed.repo.rpartition("/")[2], spec, local.revision, entries, skipped)


def _patterns(endings: frozenset[str]) -> list[str]:
    """Globs for file names with these endings in any case."""
    return ["*" + "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in ending) for ending in sorted(endings)]


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in re.split(r"[/\\]", name))


def _folder(root: Path, *, prefer_archives: bool, trust_links: bool) -> tuple[list[Entry], list[Bad]]:
    """All pictures below `root`; where there are none (or always, with `prefer_archives`) those of its archives."""
    entries: list[Entry] = []
    archives: list[tuple[str, Path]] = []
    skipped: list[Bad] = []
    real = root.resolve()
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as scan:
                found = list(scan)
        except OSError as error:
            if not folder:
                raise DataError(f"{printable(str(root))}: {error.strerror or error}") from error
            skipped.append(Bad(folder, f"a folder that cannot be read: {error.strerror or error}"))
            continue
        for item in found:
            name = f"{folder}/{item.name}" if folder else item.name
            if item.name.startswith("."):
                continue
            if item.is_dir(follow_symlinks=False):
                folders.append(name)
                continue
            ending = PurePosixPath(name).suffix.lower()
            linked_folder = item.is_symlink() and (root / name).is_dir()
            if ending not in PICTURES and ending not in ARCHIVES and not linked_folder:
                continue
            path = root / name
            reason = "a link to a folder" if linked_folder else _unfit(item, path, real, trust_links)
            if reason:
                skipped.append(Bad(name, reason))
            elif ending in PICTURES:
                entries.append(Entry(name, partial(_read_file, path)))
            else:
                archives.append((name, path))
    if archives and (prefer_archives or not entries):
        entries = []
        for name, path in archives:
            inside, left = _archive(path)
            entries += [Entry(f"{name}/{entry.name}", entry.open) for entry in inside]
            skipped += [Bad(f"{name}/{bad.name}", bad.reason) for bad in left]
    return entries, skipped


def _unfit(item: os.DirEntry[str], path: Path, real_root: Path, trust_links: bool) -> str | None:
    """Why a file is left out without being opened, or None."""
    try:
        if item.is_symlink() and not trust_links and not path.resolve(strict=True).is_relative_to(real_root):
            return "a link that leads outside"
        status = item.stat()
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        return "a link that leads nowhere"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    return "empty (0 bytes)" if status.st_size == 0 else None


def _read_file(path: Path) -> BinaryIO:
    return path.open("rb")


def _archive(path: Path) -> tuple[list[Entry], list[Bad]]:
    shown = printable(str(path))
    try:
        return _zip(path) if path.suffix.lower() == ".zip" else _tar(path)
    except OSError as error:
        raise DataError(f"{shown}: {error.strerror or error}") from error
    except tarfile.ReadError as error:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
            raise DataError(
                f"{shown}: a compressed tar cannot be read in place: decompress it to a plain .tar first"
            ) from error
        raise DataError(f"{shown}: not a tar, or damaged: {printable(str(error))}") from error
    except (zipfile.BadZipFile, tarfile.TarError, ValueError, NotImplementedError, EOFError) as error:
        raise DataError(f"{shown}: not a {path.suffix[1:].lower()}, or damaged: {printable(str(error))}") from error


def _unfit_member(name: str, size: int) -> str | None:
    if size == 0:
        return "empty (0 bytes)"
    return f"larger than {_MAX_MEMBER >> 20} MiB" if size > _MAX_MEMBER else None


def _zip(path: Path) -> tuple[list[Entry], list[Bad]]:
    archive = zipfile.ZipFile(path)
    lock = threading.Lock()
    entries: list[Entry] = []
    skipped: list[Bad] = []
    for info in archive.infolist():
        name = info.filename
        if info.is_dir() or _hidden(name) or PurePosixPath(name).suffix.lower() not in PICTURES:
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        reason = _unfit_member(name, info.file_size) if kind in (0, stat.S_IFREG) else "not a regular file"
        if reason:
            skipped.append(Bad(name, reason))
        else:
            entries.append(Entry(name, partial(_read_zip, archive, info, lock)))
    return entries, skipped


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, lock: threading.Lock) -> BinaryIO:
    if info.flag_bits & 1:
        raise OSError("encrypted in its zip")
    # Opening and closing a member touch counters that ZipFile does not guard; reading is guarded by ZipFile.
    with lock:
        member = archive.open(info)
    try:
        return io.BytesIO(member.read())
    finally:
        with lock:
            member.close()


def _tar(path: Path) -> tuple[list[Entry], list[Bad]]:
    entries: list[Entry] = []
    skipped: list[Bad] = []
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            name = member.name
            if member.isdir() or _hidden(name) or PurePosixPath(name).suffix.lower() not in PICTURES:
                continue
            regular = member.isreg() and not member.issparse()
            reason = _unfit_member(name, member.size) if regular else "not a regular file"
            if reason:
                skipped.append(Bad(name, reason))
            else:
                entries.append(Entry(name, partial(_read_tar, path, member.offset_data, member.size)))
    return entries, skipped


def _read_tar(path: Path, offset: int, size: int) -> BinaryIO:
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise OSError("cut off: its tar ends too early")
    return io.BytesIO(data)
