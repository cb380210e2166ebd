"""The record of a job that can be stopped and taken up: what was asked for, and a line for each thing that is done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from animepggan.corpus.names import json_line, printable
from animepggan.disk import locked
from animepggan.errors import DataError, ModelError

_REQUEST = "request"


class Record:
    """Lines of JSON in a file, each of the thing that `key` names in it; of several of one thing the last counts.

    They stay on the disk, and are there however the process ends: one that was cut short by a kill is passed over.
    """

    def __init__(self, file: BinaryIO, key: str) -> None:
        self._file, self._key = file, key
        self._places: dict[str, int] = {}
        self.request: dict[str, Any] | None = None  # what the folder was made by (see `agree`)
        at, text = 0, b"\n"
        file.seek(0)
        for text in file:
            with suppress(ValueError, KeyError, TypeError):
                line = json.loads(text)
                if _REQUEST in line:
                    self.request = dict(line[_REQUEST])
                else:
                    self._places[line[key]] = at
            at += len(text)
        if not text.endswith(b"\n"):
            file.write(b"\n")

    def names(self) -> set[str]:
        return set(self._places)

    def get(self, name: str) -> dict[str, Any] | None:
        if name not in self._places:
            return None
        self._file.seek(self._places[name])
        line: dict[str, Any] = json.loads(self._file.readline())
        return line

    def add(self, line: Mapping[str, Any]) -> None:
        self._places[line[self._key]] = self._write(line)

    def agree(self, folder: Path, request: Mapping[str, Any], advice: str) -> None:
        """Note what the folder is made by; ModelError with the difference and `advice` where it was something else."""
        if self.request is None:
            self._write({_REQUEST: request})
            self.request = dict(request)
        pairs = {key: (self.request.get(key), request.get(key)) for key in sorted({*self.request, *request})}
        diff = [f"{key} {_shown(old)}, now {_shown(new)}" for key, (old, new) in pairs.items() if old != new]
        if diff:
            raise ModelError(f"{printable(str(folder))} was made with other options: {'; '.join(diff)}\n{advice}")

    def clear(self) -> None:
        """Forget everything."""
        self._file.truncate(0)
        self._places, self.request = {}, None

    def _write(self, line: Mapping[str, Any]) -> int:
        place = self._file.seek(0, 2)
        self._file.write(json_line(line).encode())
        self._file.flush()
        return place


@contextmanager
def open_record(path: Path, key: str) -> Iterator[Record]:
    """The record at `path`, whose folder is made and held: BusyError where another process holds it, DataError where it
    is a file."""
    folder = printable(str(path.parent))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{folder}: there is a file where the folder should be; choose another --output") from None
    busy = f"{folder}: another process writes there; wait for it, or choose another --output"
    with locked(path.with_name(".lock"), busy), path.open("a+b") as file:
        yield Record(file, key)


def _shown(value: object) -> str:
    return "nothing" if value is None else printable(str(value))
