"""The rows of a corpus.jsonl as a person decides them: saved at once, undone step by step. No HTTP here."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from animepggan.corpus.decode import open_picture
from animepggan.corpus.description import KEPT, REJECTED, Row, base_of, read_description
from animepggan.corpus.names import json_line, printable
from animepggan.corpus.source import Bad, Entry, Source
from animepggan.corpus.spec import source_of
from animepggan.corpus.sweep import attempt
from animepggan.disk import replacing
from animepggan.errors import DataError

NAME = "corpus.jsonl"
EXAMPLES = 3
"""Pictures kept by hand from which on they are examples: fewer say what one face is like, not who she is."""
_SIDE = 256  # pixels of a thumbnail's longer side
_REMEMBERED = 20_000  # thumbnails, 5 to 10 kB each

Curate = Callable[[Source, Path, Source | None, Source | None], object]
"""Called as curate(pictures, folder, keep, reject): describes them anew, by examples of who belongs and who not."""
_Line = tuple[bytes, Row]  # as it stands in the file, with its end, and what it says


class Decisions:
    """The description in `folder`; its rows are known by their places among its lines. For one thread at a time.

    Only lines that are decided about are written anew; all others stay byte for byte, and undo restores a line.
    Raises DataError where there is no description, a damaged one, or one without pictures.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        if not self.path.is_file():
            shown = printable(str(folder))
            missing = f"there is no {NAME}" if folder.is_dir() else "there is no such folder"
            raise DataError(f"{shown}: {missing}\n`animepggan data curate SPEC -o {shown}` writes what is reviewed")
        self.thumbnail = lru_cache(_REMEMBERED)(self._thumbnail)
        self.version = 0  # another one whenever a row has changed
        self.edition = 0  # another one when the rows are those of other pictures
        self._undo: list[dict[int, _Line]] = []  # what each step replaced
        self._read()
        if not self.shown:
            raise DataError(f"{printable(str(self.path))} names no picture that can be used")
        names = {row.path for row in self.rows.values()}
        self._pictures = source_of(base_of(self.path)).only(lambda entry: entry.name in names)
        self._entries = {entry.name: entry for entry in self._pictures.entries}

    def _read(self) -> None:
        self._seen = self._on_disk()
        with self.path.open("rb") as file:
            self._texts = file.readlines()
        self.rows = {line - 1: row for line, row in read_description(self.path)}
        self._in_cluster = Counter(row.cluster for row in self.rows.values())
        self.version += 1

    def _on_disk(self) -> tuple[int, ...]:
        known = self.path.stat()
        return known.st_ino, known.st_size, known.st_mtime_ns

    @property
    def shown(self) -> list[int]:
        """The places of the pictures that can be used."""
        return [place for place, row in self.rows.items() if row.status != "bad"]

    @property
    def counts(self) -> dict[str, int]:
        """Pictures that can be used: those that training shows and those that it does not, and by hand of either."""
        rows = [row for row in self.rows.values() if row.status != "bad"]
        reasons = Counter(row.reason for row in rows)
        trained = sum(row.trained for row in rows)
        return {
            "trained": trained,
            "left_out": len(rows) - trained,
            "kept": reasons[KEPT],
            "rejected": reasons[REJECTED],
            "undoable": len(self._undo),
        }

    def told(self, place: int) -> dict[str, Any]:
        """What the page is told of a row."""
        row = self.rows[place]
        return {
            "place": place,
            "name": printable(row.path),
            "cluster": row.cluster,
            "score": row.stranger_score,
            "status": row.status,
            "trained": row.trained,
            "by_hand": row.by_hand,
            "reason": printable(row.reason),
        }

    def decide(self, places: Iterable[int], *, keep: bool) -> list[int]:
        """Keep or reject these pictures, and with each those of the same pixels; the places that changed.

        ValueError where one is no place of a picture that can be used.
        """
        wanted, shown = set(places), set(self.shown)
        if not wanted <= shown:
            raise ValueError("there is no such picture")
        pixels = {self.rows[place].sha256 for place in wanted} - {None}
        wanted |= {place for place in shown if self.rows[place].sha256 in pixels}
        changed: dict[int, _Line] = {}
        for place in sorted(wanted):
            row = self.rows[place]
            among = 1 if row.cluster is None else self._in_cluster[row.cluster]
            if (decided := row.decided(keep, among)) != row:
                changed[place] = json_line(asdict(decided)).encode(), decided
        if changed:
            before = {place: (self._texts[place], self.rows[place]) for place in changed}
            self._save(changed)
            self._undo.append(before)
        return sorted(changed)

    def undo(self) -> list[int]:
        """Take back the last step; the places that changed."""
        if not self._undo:
            return []
        self._save(self._undo[-1])
        return sorted(self._undo.pop())

    def rank(self, curate: Curate) -> None:
        """Curate again by what was decided as examples: a step that undo takes back like any other.

        Unless pictures are gone since: then their rows go, and nothing before can be undone.
        """
        self._refuse_foreign()
        kept, rejected = (self._decided(reason) for reason in (KEPT, REJECTED))
        if kept is not None and len(kept) < EXAMPLES:
            kept = None
        curate(self._pictures, self.path.parent, kept, rejected)
        texts, rows = self._texts, self.rows
        self._read()
        if {place: row.path for place, row in rows.items()} == {place: row.path for place, row in self.rows.items()}:
            self._undo.append({place: (texts[place], row) for place, row in rows.items()})
        else:
            self._undo.clear()
            self.thumbnail.cache_clear()
            self.edition += 1

    def _decided(self, reason: str) -> Source | None:
        names = {row.path for row in self.rows.values() if row.reason == reason}
        found = self._pictures.only(lambda entry: entry.name in names)
        return found if len(found) else None

    def _save(self, changed: Mapping[int, _Line]) -> None:
        """Replace these lines."""
        self._refuse_foreign()
        texts = list(self._texts)
        for place, (text, _) in changed.items():
            texts[place] = text
        with replacing(self.path) as partial:
            partial.write_bytes(b"".join(texts))
        self._seen, self._texts = self._on_disk(), texts
        self.rows = self.rows | {place: row for place, (_, row) in changed.items()}
        self.version += 1

    def _refuse_foreign(self) -> None:
        if self._on_disk() != self._seen:
            raise DataError(f"{printable(str(self.path))} was changed by somebody else\nreview it anew")

    def _thumbnail(self, place: int) -> bytes | None:
        """A WebP of the picture in this row, made once; None where there is none or it cannot be decoded."""
        row = self.rows.get(place)
        entry = self._entries.get(row.path) if row is not None else None
        if entry is None:
            return None
        found = attempt(entry, _small)
        return None if isinstance(found, Bad) else found


def _small(_: Entry, file: BinaryIO) -> bytes:
    image = open_picture(file).image
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    made = io.BytesIO()
    image.save(made, "WEBP", quality=82, method=2)
    return made.getvalue()
