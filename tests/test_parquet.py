"""Parquet tables of pictures: found by the column's type, read lazily, and what is wrong with a table or a row."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_corpus import flat, make_zip

from animepggan.corpus import Corpus, parquet, spec
from animepggan.corpus.spec import Bad
from animepggan.errors import DataError

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def cell(value: int) -> dict[str, Any]:
    return {"bytes": flat(value), "path": f"{value}.png"}


def table(
    path: Path,
    cells: list[Any],
    *,
    kind: Any = PICTURE,
    told: dict[str, str] | None = None,  # what the `datasets` library says the columns are
    group: int = 4,  # rows
    **more: Any,  # name: (type, values), columns before `image`
) -> Path:
    """A table with a column `image` of these cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"label": pa.array(range(len(cells)))}
    columns |= {name: pa.array(values, type_) for name, (type_, values) in more.items()}
    made = pa.table(columns | {"image": pa.array(cells, kind)})
    if told:
        features = {name: {"_type": value} for name, value in told.items()}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(made, path, row_group_size=group)
    return path


def spoil(path: Path, group: int) -> None:
    """Overwrite the pictures of a row group."""
    column = pq.ParquetFile(path).metadata.row_group(group).column(1)
    assert column.path_in_schema == "image.bytes"
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("count", [1, 4, 11, 100])
def test_a_table_is_a_corpus(tmp_path: Path, count: int, workers: int) -> None:
    path = table(tmp_path / "faces.parquet", [cell(value) for value in range(count)])
    corpus = Corpus.load(str(path), resolution=8, workers=workers)
    width = len(str(count - 1))
    assert corpus.names == [f"{row:0{width}}" for row in range(count)]
    assert corpus.name == "faces"
    reds = [corpus.batch(row, 1, resolution=8, seed=0, mirror=False)[0, 0, 0, 0] for row in range(count)]
    assert sorted(round(float(red + 1) * 127.5) for red in reds) == list(range(count))


@pytest.mark.parametrize("group", [1, 4, 20, 100])
def test_rows_are_read_in_any_order(tmp_path: Path, group: int) -> None:
    entries = spec.source_of(
        str(table(tmp_path / "x.parquet", [cell(value) for value in range(30)], group=group))
    ).entries
    order = [*range(30), *reversed(range(30)), *random.Random(1).sample(range(30), 30)]
    for row in order:
        with entries[row].open() as file:
            assert file.read() == flat(row)


def test_a_folder_of_tables(tmp_path: Path) -> None:
    table(tmp_path / "data" / "train-0.parquet", [cell(1), cell(2)])
    table(tmp_path / "data" / "train-1.parquet", [cell(3)])
    table(tmp_path / "labels.parquet", [1, 2], kind=pa.int64())
    source = spec.source_of(str(tmp_path))
    assert [entry.name for entry in source] == [
        "data/train-0.parquet/0",
        "data/train-0.parquet/1",
        "data/train-1.parquet/0",
    ]
    assert source.skipped == (Bad("labels.parquet", "a table without pictures"),)
    make_zip(tmp_path / "more.zip", {"a.png": flat(9)})
    assert len(spec.source_of(str(tmp_path))) == 4


@pytest.mark.parametrize(
    "kind",
    [
        pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())]),
        pa.struct([("path", pa.string()), ("bytes", pa.binary())]),
    ],
)
def test_other_spellings_of_the_type(tmp_path: Path, kind: Any) -> None:
    source = spec.source_of(str(table(tmp_path / "x.parquet", [cell(5)], kind=kind)))
    with source.entries[0].open() as file:
        assert file.read() == flat(5)


def test_which_column_it_is(tmp_path: Path) -> None:
    other = (PICTURE, [cell(9)])

    def column(**options: Any) -> str | None:
        return parquet.Table(table(tmp_path / "x.parquet", [cell(1)], **options)).column

    assert column(mask=other) == "image"
    assert column(a_mask=other, told={"image": "Audio", "a_mask": "Image"}) == "a_mask"
    assert column(told={"image": "Audio"}) is None


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_without_a_picture_are_bad(tmp_path: Path, workers: int) -> None:
    cells = [cell(1), None, {"bytes": None, "path": "http://example.org/x.png"}, {"bytes": b"", "path": None}, cell(2)]
    cells += [{"bytes": b"<html>", "path": "a.jpg"}, {"bytes": flat(3), "path": "../../\x1b[2J"}]
    corpus = Corpus.load(str(table(tmp_path / "x.parquet", cells)), resolution=8, max_bad=0.9, workers=workers)
    assert corpus.names == ["0", "4", "6"]
    assert [(bad.name, bad.reason) for bad in corpus.bad] == [
        ("1", "there is no picture in this row of its table"),
        ("2", "there is no picture in this row of its table"),
        ("3", "empty (0 bytes)"),
        ("5", "not a picture, or damaged at its start"),
    ]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([1, 2], pa.int64()),
        ([b"x"], pa.binary()),
        (["a.png"], pa.string()),
        ([{"bytes": "x", "path": "y"}], pa.struct([("bytes", pa.string()), ("path", pa.string())])),
        ([{"bytes": b"x"}], pa.struct([("bytes", pa.binary())])),
        ([[cell(1)]], pa.list_(PICTURE)),
    ],
    ids=str,
)
def test_a_table_without_pictures(tmp_path: Path, cells: list[Any], kind: Any) -> None:
    with pytest.raises(DataError, match=r"without pictures(.|\n)*\{bytes, path\}") as caught:
        Corpus.load(str(table(tmp_path / "x.parquet", cells, kind=kind)), resolution=8)
    assert caught.value.exit_code == 3


def test_a_table_without_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures"):
        Corpus.load(str(table(tmp_path / "x.parquet", [])), resolution=8)


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_table_cut_short(tmp_path: Path, keep: float) -> None:
    path = table(tmp_path / "x.parquet", [cell(value) for value in range(9)])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(DataError, match=r"x\.parquet: not a parquet, or damaged") as caught:
        Corpus.load(str(path), resolution=8)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_group_spoils_its_own_rows_only(tmp_path: Path, workers: int) -> None:
    path = table(tmp_path / "x.parquet", [cell(value) for value in range(12)])
    spoil(path, 1)
    corpus = Corpus.load(str(path), resolution=8, max_bad=0.9, workers=workers)
    assert [bad.name for bad in corpus.bad] == ["04", "05", "06", "07"]
    assert {bad.reason for bad in corpus.bad} == {"its table is damaged here"}
    assert len(corpus) == 8


def test_damage_is_met_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once a row: what comes before it would be read again and again."""
    path = table(tmp_path / "x.parquet", [cell(value) for value in range(50)], group=50)
    spoil(path, 0)
    opened: list[Path] = []
    real = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda path, **options: opened.append(path) or real(path, **options))
    for entry in spec.source_of(str(path)):
        with pytest.raises(OSError, match="damaged here"):
            entry.open()
    assert len(opened) == 2  # to see what is in it, and to read


def test_no_damage_escapes_as_another_error(tmp_path: Path) -> None:
    chance = random.Random(3)
    path = table(tmp_path / "x.parquet", [cell(value) for value in range(9)])
    whole = path.read_bytes()
    for _ in range(120):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data) * chance.randint(0, 1) // 2, len(data))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            Corpus.load(str(path), resolution=8, max_bad=1.0, workers=0)
        except DataError as error:
            assert len(str(error).splitlines()) <= 3  # noqa: PT017 (either is right)


def test_a_table_is_never_held_as_a_whole(tmp_path: Path) -> None:
    """60 MB in one row group, read in order within a fraction of that."""
    path = tmp_path / "x.parquet"
    blob = random.Random(1).randbytes(1 << 20)
    options: Any = {"compression": "none", "use_dictionary": False, "write_batch_size": 2}  # in pages of two rows
    with pq.ParquetWriter(path, pa.schema([("image", PICTURE)]), **options) as writer:
        cells = [{"bytes": bytes([row]) + blob, "path": str(row)} for row in range(60)]
        writer.write_table(pa.table({"image": pa.array(cells, PICTURE)}), row_group_size=60)
    code = """
import sys
import pyarrow
from animepggan.corpus import spec
for row, entry in enumerate(spec.source_of(sys.argv[1])):
    with entry.open() as file:
        assert file.read()[0] == row
print(pyarrow.default_memory_pool().max_memory())
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60, check=True)
    assert 1 << 20 < int(done.stdout) < 25 << 20


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "x.parquet", [cell(1)])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r'pip install "animepggan\[parquet\]"'):
        Corpus.load(str(path), resolution=8)
    (tmp_path / "a.png").write_bytes(flat(1))
    assert len(spec.source_of(str(tmp_path))) == 1  # a table beside pictures is nobody's business


def test_the_stamp_changes_with_the_table(tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", [cell(1)])
    first = spec.source_of(str(path)).stamp
    table(path, [cell(1), cell(2)])
    second = spec.source_of(str(path))
    assert first != second.stamp
    assert len({entry.stamp for entry in second}) == 2
