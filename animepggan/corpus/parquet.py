"""Pictures in parquet tables: a column of {bytes, path}, as the hub's `datasets` library writes it, or of mere bytes.

Needs pyarrow (extra `parquet`), imported when the first table is opened. Rows are read in order, some at a time: of a
table a thread holds a few rows and the page of the file that they are in, never the whole.
"""

from __future__ import annotations

import io
import json
import threading
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, BinaryIO

from animepggan.corpus.content import HEAD, format_of
from animepggan.errors import DataError

ENDING = ".parquet"
_ROWS = 8  # read at once
_LOOKED_AT = 16  # times so many, for a first picture
_BUFFER = 1 << 20  # bytes of the file read at once

_here = threading.local()
"""Each thread goes through a table at its own pace; it keeps one place in one table."""


class Table:
    """A parquet file with a column of pictures. Raises ValueError for what is no parquet, DataError without pyarrow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _open(path) as file:
            self.column, self._field = _picture_column(file)  # None: it has no pictures
            groups = range(file.metadata.num_row_groups)
            counts = (int(file.metadata.row_group(group).num_rows) for group in groups)
            self._starts = [0, *accumulate(counts)]  # of the row groups, and the end
        self._damage: dict[int, int] = {}  # row group -> its first row that could not be read

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, row: int) -> BinaryIO:
        """The picture file in `row`. Quick in order; OSError where there is none or the table is damaged."""
        group = bisect_right(self._starts, row) - 1
        if row >= self._damage.get(group, len(self)):
            raise OSError("its table is damaged here")
        what, start, rows, batches = getattr(_here, "place", (None, 0, (), iter(())))
        if what != (self, group) or row < start:
            start, rows, batches = self._starts[group], (), self._batches(group)
        _here.place = (None, 0, (), iter(()))  # closes the table before
        try:
            while row >= start + len(rows):
                start, rows = next(batches)
            data = rows[row - start].as_py()
        except (OSError, ValueError, StopIteration) as error:  # pyarrow's own are of these
            self._damage[group] = start + len(rows)
            raise OSError("its table is damaged here") from error
        _here.place = ((self, group), start, rows, batches)
        if data is None:
            raise OSError("there is no picture in this row of its table")
        if not data:
            raise OSError("empty (0 bytes)")
        return io.BytesIO(data)

    def _batches(self, group: int) -> Iterator[tuple[int, Any]]:
        """A few rows at a time, and the first one's number."""
        start = self._starts[group]
        wanted = {"row_groups": [group], "columns": [f"{self.column}{self._field}"]}
        for batch in _open(self.path).iter_batches(batch_size=_ROWS, **wanted):
            rows = _values(batch, self._field)
            yield start, rows
            start += len(rows)


def _open(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"{path.name}: reading parquet tables needs pyarrow, which is not installed\n"
            'pip install "animepggan[parquet]"'
        ) from error
    return pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)


def _picture_column(file: Any) -> tuple[str | None, str]:
    """The name of the column with pictures, and what of it they are: by its type and, where it is told, by what the
    type stands for; of mere bytes, by what the first of them are.
    """
    from pyarrow import types

    schema = file.schema_arrow
    kinds = _told_kinds(schema.metadata or {})

    def is_bytes(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    found: dict[str, str] = {}
    for column in schema:
        nested = types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0
        field = ".bytes" if nested else ""
        told = nested and column.type.get_field_index("path") >= 0 and kinds.get(column.name, "Image") == "Image"
        if not is_bytes(column.type.field("bytes").type if nested else column.type):
            continue
        if told or (column.name not in kinds and format_of(_first(file, column.name, field))):  # sound is told, too
            found[column.name] = field
    name = "image" if "image" in found else next(iter(found), None)
    return name, found.get(name or "", "")


def _first(file: Any, column: str, field: str) -> bytes:
    """The beginning of the first value of a column that is one."""
    batches = islice(file.iter_batches(batch_size=_ROWS, columns=[column + field]), _LOOKED_AT)
    values = (value.as_py() for batch in batches for value in _values(batch, field))
    return next((value[:HEAD] for value in values if value), b"")


def _values(batch: Any, field: str) -> Any:
    return batch.column(0).field(field[1:]) if field else batch.column(0)


def _told_kinds(metadata: dict[bytes, bytes]) -> dict[str, str]:
    """What the `datasets` library says each column is (`Image`, `Audio`, ...)."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {name: str(feature["_type"]) for name, feature in features.items() if "_type" in feature}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
