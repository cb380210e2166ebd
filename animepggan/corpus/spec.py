"""SPECs: what `--data` and the recipe key `data` may name, and the source of pictures that each stands for.

A folder (recursive), a .zip, .tar or .parquet (read in place, never unpacked), a `corpus.jsonl`, `demo:general`,
`demo:yui`, or `hub:datasets/owner/name[@revision][:sub]`. A picture is known by its ending; whether it decodes is for
`decode` to find. Nothing is listed before somebody asks: `Source.stamp` tells whether a corpus has changed for less.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from animepggan import hub
from animepggan.corpus import archives, description
from animepggan.corpus.archives import archive_stamp, list_archive
from animepggan.corpus.content import PICTURES
from animepggan.corpus.folders import folder_stamp, list_file, list_folder, walk
from animepggan.corpus.names import composed, printable
from animepggan.corpus.source import READ_ERRORS, TAKES, Bad, Entry, Item, Source, reading, set_stamp, short_name
from animepggan.disk import sha256_of
from animepggan.errors import DataError, HubError

__all__ = ["READ_ERRORS", "Bad", "Entry", "Source", "source_of"]

_DEMOS: dict[str, Literal["general", "yui"]] = {"demo:general": "general", "demo:yui": "yui"}


def source_of(data: str | Path | Source) -> Source:
    """Find what a SPEC stands for; a source stands for itself.

    Raises DataError, or HubError for `hub:`; so may listing its pictures, later.
    """
    if isinstance(data, Source):
        return data
    spec = str(data)
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
    except (FileNotFoundError, NotADirectoryError) as error:
        message = f"{shown}: there is no such folder or file\n{TAKES}"
        if not Path(spec).is_absolute() and PurePosixPath(spec).parts[:1] == ("data",):
            message += f"\nsee the README's table of corpora for how to get {shown}"
        raise DataError(message) from error
    except OSError as error:
        raise DataError(f"{shown}: {error.strerror or error}\n{TAKES}") from error
    except ValueError as error:  # a NUL in the name
        raise DataError(f"{shown} is not a path\n{TAKES}") from error
    if stat.S_ISDIR(mode):
        return _folder(path, path.resolve().name, spec)
    if stat.S_ISREG(mode) and path.suffix.lower() in archives.ENDINGS:
        name, find, find_stamp = short_name(path.stem), partial(list_archive, path), partial(archive_stamp, path)
        return Source(name, spec, None, given, find, find_stamp)
    if stat.S_ISREG(mode) and path.suffix.lower() == ".jsonl":
        return _described(path, spec)
    if path.name.lower().endswith(archives.COMPRESSED_TARS):
        raise archives.compressed(spec)
    raise DataError(f"{shown} is neither a folder nor a .zip, .tar, .parquet or .jsonl\n{TAKES}")


def _folder(path: Path, name: str, spec: str) -> Source:
    base = os.path.expanduser(spec)  # noqa: PTH111 (as above)
    return Source(short_name(name), spec, None, base, partial(list_folder, path), partial(folder_stamp, path))


def _demo(spec: str) -> Source:
    kind = _DEMOS.get(spec)
    if kind is None:
        raise DataError(f"{printable(spec)}: there is no such demo corpus; there are demo:general and demo:yui")
    from animepggan.corpus import demo

    return _folder(demo.cached(kind), kind, spec)


# ---------------------------------------------------------------- the hub


def _hub(spec: str) -> Source:
    parsed = hub.parse_spec(spec)
    if parsed.kind != "dataset":
        raise HubError(f"{parsed} names a model, not pictures\npictures come from hub:datasets/owner/name")
    pictures, packed = _patterns(PICTURES), _patterns(archives.ENDINGS)
    whole = parsed.subfolder is None
    bring = partial(hub.fetch, spec, wanted="pictures, zips, tars or parquet tables of pictures")
    # Archives beside loose pictures hold the set; the loose ones are samples for the repository's page.
    local = bring(allow_patterns=pictures + packed, prefer=packed if whole else ())
    if whole and _holds_mere_tables(local.path):
        local, whole = bring(allow_patterns=pictures), False
    path = local.path
    if path.is_file():
        find = partial(list_archive if path.suffix.lower() in archives.ENDINGS else list_file, path)
        find_stamp = partial(archive_stamp, path)
    else:  # the client's cache is made of links from the snapshot to its store
        find = partial(list_folder, path, prefer_archives=whole, trust_links=True)
        find_stamp = partial(folder_stamp, path, trust_links=True)
    base = str(replace(parsed, revision=local.revision))
    return Source(short_name(parsed.repo.rpartition("/")[2]), spec, local.revision, base, find, find_stamp)


def _patterns(endings: frozenset[str]) -> list[str]:
    """Globs for file names with these endings in any case."""
    return ["*" + "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in ending) for ending in sorted(endings)]


def _holds_mere_tables(folder: Path) -> bool:
    """Whether a snapshot's archives are all parquet tables without pictures: those describe loose ones."""
    files = walk(folder, trust_links=True)
    found = [name for name, ending, _, _, reason in files if ending in archives.ENDINGS and not reason]
    return bool(found) and all(archives.is_mere_table(folder / name) for name in found)


# ---------------------------------------------------------------- descriptions


def _described(path: Path, spec: str) -> Source:
    base = description.base_of(path)
    try:
        pictures = source_of(base)
    except DataError as error:
        raise DataError(
            f"{printable(spec)}: its pictures are not there: {str(error).splitlines()[0]}\n"
            f"say where they are in {printable(path.stem)}.source.json"
        ) from error
    # OUT/corpus.jsonl is what curation writes: the folder is what tells one from another.
    name = path.parent.name if path.stem == "corpus" else path.stem
    find, find_stamp = partial(_list_described, path, pictures), partial(_described_stamp, path, pictures)
    return Source(short_name(name), spec, pictures.commit, pictures.base, find, find_stamp)


def _list_described(path: Path, pictures: Source) -> Iterator[Item]:
    """The pictures that the description at `path` trains on."""
    entries = {entry.name: entry for entry in pictures.entries}
    skipped = {bad.name: bad for bad in pictures.skipped}
    for line, row in description.read_description(path):
        name = composed(row.path)
        if not row.trained:
            why = f"its weight is {row.weight:g}" if row.status in description.TRAINED else row.status
            told = f" ({row.reason})" if row.reason else ""
            yield Bad(row.path, f"left out by {path.name}: {why}{told}", by_choice=True)
        elif name in entries:
            yield replace(entries[name], cluster=row.cluster, weight=row.weight)
        elif name in skipped:
            yield skipped[name]
        else:  # counted among the bad ones: some may be gone, but a wrong folder must not go unnoticed
            reason = f"there is no such picture in {pictures.spec} ({path.name}, line {line})"
            yield Entry(row.path, partial(_absent, reason), 0, row.cluster, row.weight)


def _absent(reason: str) -> BinaryIO:
    raise OSError(reason)


def _described_stamp(path: Path, pictures: Source) -> str:
    with reading(path):
        digest = sha256_of(path)
    return set_stamp([(digest, pictures.stamp)])
