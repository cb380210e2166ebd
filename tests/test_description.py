"""corpus.jsonl: written and read without loss, edited by hand, trained on, and each mistake named by its line."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_corpus import flat, folder_of, make_zip
from test_hub import COMMIT, OLDER, fill_cache

from animepggan.corpus import Corpus, description, spec
from animepggan.corpus.description import Row, base_of, read_description, write_description
from animepggan.corpus.spec import Bad
from animepggan.errors import DataError

DIGEST = "0123456789abcdef" * 4
ROWS = [
    Row("a.png", DIGEST, 0, 0.5, "keep", 0.25, "the largest of its cluster"),
    Row("b.png", DIGEST, 0, 0.5, "copy", None, "the same pixels as a.png"),
    Row("c.png", DIGEST, 1, 1.0, "stranger", 17.5),
    Row("d.png", status="bad", weight=0.0, reason="cut off"),
]


def described(path: Path, *lines: str | dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def rows_of(path: Path) -> list[Row]:
    return [row for _, row in read_description(path)]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "out" / "corpus.jsonl"
    write_description(path, iter(ROWS), base=str(tmp_path / "faces"))
    assert rows_of(path) == ROWS
    assert [line for line, _ in read_description(path)] == [1, 2, 3, 4]
    assert base_of(path) == str(tmp_path / "faces")
    assert sorted(each.name for each in path.parent.iterdir()) == ["corpus.jsonl", "corpus.source.json"]


def test_a_line_a_picture_with_the_documented_keys(tmp_path: Path) -> None:
    write_description(tmp_path / "corpus.jsonl", ROWS, base="demo:yui")
    lines = (tmp_path / "corpus.jsonl").read_text().splitlines()
    assert len(lines) == len(ROWS)
    keys = ["path", "sha256", "cluster", "weight", "status", "stranger_score", "reason"]
    assert all(list(json.loads(line)) == keys for line in lines)


@given(st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=30), st.text(max_size=30))
def test_any_name_survives_and_none_steers_a_terminal(name: str, reason: str) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder, "corpus.jsonl")
        write_description(path, [Row(name, reason=reason)], base="demo:yui")
        assert rows_of(path) == [Row(name, reason=reason)]
        text = path.read_bytes().decode("utf-8")
        assert text.endswith("}\n")
        assert text[:-1].isprintable()


def test_readable_names_stay_readable(tmp_path: Path) -> None:
    write_description(tmp_path / "corpus.jsonl", [Row("由依.png")], base="demo:yui")
    assert "由依.png" in (tmp_path / "corpus.jsonl").read_text(encoding="utf-8")


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    write_description(path, ROWS, base="demo:yui")

    def failing() -> Any:
        yield ROWS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_description(path, failing(), base="demo:general")
    assert rows_of(path) == ROWS
    assert base_of(path) == "demo:yui"


# ---------------------------------------------------------------- by hand


def test_only_the_path_has_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"path": "a.png"}\r\n\r\n  {"path": "b.png", "weight": 2}')
    assert list(read_description(path)) == [(1, Row("a.png")), (3, Row("b.png", weight=2.0))]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "is not JSON"),
        ('{"path": "a.png",}', "is not JSON"),
        ("'a.png'", "is not JSON"),
        ('"a.png"', "is no JSON object"),
        ("[]", "is no JSON object"),
        ("null", "is no JSON object"),
        ("{}", "`path` is missing"),
        ('{"path": ""}', "`path` has to be"),
        ('{"path": 7}', "`path` has to be"),
        ('{"path": "a", "path": "b"}', "'path' stands there twice"),
        ('{"path": "a", "wieght": 1}', "'wieght' is no key; did you mean 'weight'?"),
        ('{"path": "a", "\\u001b[2J": 1}', "is no key; there are path, sha256"),
        ('{"path": "a", "weight": -1}', "`weight` has to be a number from 0, not -1"),
        ('{"path": "a", "weight": "1"}', '`weight` has to be a number from 0, not "1"'),
        ('{"path": "a", "weight": true}', "`weight` has to be a number from 0, not true"),
        ('{"path": "a", "weight": null}', "`weight` has to be a number from 0, not null"),
        ('{"path": "a", "weight": NaN}', "NaN is not a number"),
        ('{"path": "a", "weight": 1e999}', "`weight` has to be a number"),
        ('{"path": "a", "weight": 1' + "0" * 5000 + "}", ""),
        ('{"path": "a", "cluster": 1.0}', "`cluster` has to be a whole number from 0, not 1.0"),
        ('{"path": "a", "cluster": -1}', "`cluster` has to be a whole number"),
        ('{"path": "a", "cluster": false}', "`cluster` has to be a whole number"),
        ('{"path": "a", "cluster": 4294967296}', "`cluster` has to be a whole number"),
        ('{"path": "a", "status": "Keep"}', "not \"Keep\"; did you mean 'keep'?"),
        ('{"path": "a", "status": null}', "`status` has to be one of keep, copy, near, stranger, bad"),
        ('{"path": "a", "sha256": "ff"}', "`sha256` has to be 64"),
        ('{"path": "a", "stranger_score": "high"}', "`stranger_score` has to be a number"),
        ('{"path": "a", "reason": 3}', "`reason` has to be text"),
        ('{"path": "good.png"}', "good.png is on line 1 already"),
        ('{"path": ' + "[" * 100_000, ""),
        ('{"path": "' + "x" * (1 << 20) + '"}', "too long a line"),
        ('{"path": "\udcff"}', "is not UTF-8"),
    ],
    ids=range(32),
)
def test_a_mistake_is_named_by_its_line(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(f'{{"path": "good.png"}}\n\n{line}\n'.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as caught:
        list(read_description(path))
    message = str(caught.value)
    assert f"{path}, line 3: " in message
    assert words in message
    assert message.isprintable()
    assert len(message) < 350 + len(str(path))


# ---------------------------------------------------------------- where the pictures are


@pytest.mark.parametrize(
    ("base", "stored"),
    [("faces", "../faces"), ("faces.zip", "../faces.zip"), ("out/deeper", "deeper"), ("out", "."), (".", "..")],
)
def test_places_are_relative_so_that_both_can_be_moved(tmp_path: Path, base: str, stored: str) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    write_description(old / "out" / "corpus.jsonl", ROWS, base=str(old / base))
    assert json.loads((old / "out" / "corpus.source.json").read_text()) == {"spec": stored}
    old.rename(new)
    assert base_of(new / "out" / "corpus.jsonl") == str(new / base)


def test_a_relative_base_is_that_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_description(Path("out/corpus.jsonl"), ROWS, base="data/faces")
    monkeypatch.chdir("/")
    assert base_of(tmp_path / "out" / "corpus.jsonl") == str(tmp_path / "data" / "faces")


@pytest.mark.parametrize("base", ["demo:general", "hub:datasets/alice/faces@0123456789abcdef:train.zip"])
def test_other_bases_stay_as_they_are(tmp_path: Path, base: str) -> None:
    write_description(tmp_path / "corpus.jsonl", ROWS, base=base)
    assert base_of(tmp_path / "corpus.jsonl") == base


def test_without_a_word_the_pictures_lie_beside_it(tmp_path: Path) -> None:
    folder_of(tmp_path / "set", 2)
    path = described(tmp_path / "set" / "mine.jsonl", {"path": "001.png"})
    assert [entry.name for entry in spec.source_of(str(path))] == ["001.png"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"spec": ""}', '{"spec": 3}', '{"spec": "a\\u0000"}', '{"spec": "x", "y": 1}', "\xff"],
)
def test_a_source_file_that_says_nothing(tmp_path: Path, text: str) -> None:
    path = described(tmp_path / "corpus.jsonl", {"path": "a.png"})
    (tmp_path / "corpus.source.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"corpus\.source\.json: (.|\n)*it reads") as caught:
        spec.source_of(str(path))
    assert len(str(caught.value).splitlines()) <= 3


def test_a_description_of_a_description_is_refused(tmp_path: Path) -> None:
    path = described(tmp_path / "corpus.jsonl", {"path": "a.png"})
    (tmp_path / "corpus.source.json").write_text('{"spec": "corpus.jsonl"}')
    with pytest.raises(DataError, match="names a description"):
        spec.source_of(str(path))


def test_pictures_that_have_moved_away(tmp_path: Path) -> None:
    folder_of(tmp_path / "faces", 2)
    write_description(tmp_path / "out" / "corpus.jsonl", [Row("000.png")], base=str(tmp_path / "faces"))
    shutil.move(tmp_path / "faces", tmp_path / "elsewhere")
    with pytest.raises(DataError) as caught:
        spec.source_of(str(tmp_path / "out" / "corpus.jsonl"))
    assert "its pictures are not there" in str(caught.value)
    assert "corpus.source.json" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


# ---------------------------------------------------------------- as a SPEC


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    """Ten pictures of which some are copies, some left out and one is gone."""
    root = folder_of(tmp_path / "faces", 10)
    (root / "empty.png").touch()
    rows = [
        Row("000.png", DIGEST, 5, 0.75),
        Row("001.png", DIGEST, 5, 0.25, "copy"),
        Row("002.png", DIGEST, 6, 1.0, "near"),
        Row("003.png", DIGEST, 7, 1.0, "stranger", 9.5, "far from all"),
        Row("004.png", DIGEST, 7, 0.0),
        Row("005.png"),
        Row("empty.png"),
        Row("gone.png", DIGEST, 8),
        Row("broken.png", status="bad", reason="cut off"),
    ]
    write_description(tmp_path / "yui-clean" / "corpus.jsonl", rows, base=str(root))
    return tmp_path / "yui-clean" / "corpus.jsonl"


def test_training_reads_it(curated: Path) -> None:
    source = spec.source_of(str(curated))
    assert source.name == "yui-clean"
    assert source.base == str(curated.parents[1] / "faces")
    facts = [(entry.name, entry.cluster, entry.weight) for entry in source]
    assert facts == [
        ("000.png", 5, 0.75),
        ("001.png", 5, 0.25),
        ("002.png", 6, 1.0),
        ("005.png", None, 1.0),
        ("gone.png", 8, 1.0),
    ]
    assert source.skipped == (
        Bad("003.png", "left out by corpus.jsonl: stranger (far from all)", by_choice=True),
        Bad("004.png", "left out by corpus.jsonl: its weight is 0", by_choice=True),
        Bad("broken.png", "left out by corpus.jsonl: bad (cut off)", by_choice=True),
        Bad("empty.png", "empty (0 bytes)"),
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_is_gone_is_a_bad_one(curated: Path, workers: int) -> None:
    corpus = Corpus.load(str(curated), resolution=8, max_bad=0.5, workers=workers)
    assert corpus.names == ["000.png", "001.png", "002.png", "005.png"]
    assert [bad.name for bad in corpus.bad] == ["gone.png"]
    assert "corpus.jsonl, line 8" in corpus.bad[0].reason
    with pytest.raises(DataError, match=r"gone\.png: there is no such picture"):
        Corpus.load(str(curated), resolution=8, workers=workers)


def test_a_mistake_is_told_when_the_pictures_are_asked_for(curated: Path) -> None:
    with curated.open("a") as file:
        file.write('{"path": "006.png", "status": "kep"}\n')
    with pytest.raises(DataError, match=r"line 10: `status`(.|\n)*'keep'"):
        Corpus.load(str(curated), resolution=8, max_bad=0.5)


def test_names_inside_an_archive(tmp_path: Path) -> None:
    make_zip(tmp_path / "x.zip", {"in/a.png": flat(1), "in/b.png": flat(2)})
    write_description(tmp_path / "corpus.jsonl", [Row("in/b.png", cluster=3)], base=str(tmp_path / "x.zip"))
    (entry,) = spec.source_of(str(tmp_path / "corpus.jsonl"))
    assert (entry.name, entry.cluster) == ("in/b.png", 3)
    with entry.open() as file:
        assert file.read() == flat(2)


def test_no_row_leads_outside(tmp_path: Path) -> None:
    folder_of(tmp_path / "faces", 1)
    (tmp_path / "secret.png").write_bytes(flat(9))
    rows = [Row("../secret.png"), Row(str(tmp_path / "secret.png")), Row("./000.png"), Row("000.png")]
    write_description(tmp_path / "corpus.jsonl", rows, base=str(tmp_path / "faces"))
    corpus = Corpus.load(str(tmp_path / "corpus.jsonl"), resolution=8, max_bad=0.9)
    assert corpus.names == ["000.png"]
    assert len(corpus.bad) == 3


def test_everything_left_out_says_why(tmp_path: Path) -> None:
    folder_of(tmp_path / "faces", 1)
    write_description(tmp_path / "corpus.jsonl", [Row("000.png", status="stranger")], base=str(tmp_path / "faces"))
    with pytest.raises(DataError, match=r"000\.png: left out by corpus\.jsonl: stranger"):
        Corpus.load(str(tmp_path / "corpus.jsonl"), resolution=8)


def test_the_stamp_is_of_the_description_and_of_the_pictures(curated: Path) -> None:
    def stamp() -> str:
        return spec.source_of(str(curated)).stamp

    first = stamp()
    assert stamp() == first
    curated.write_text(curated.read_text().replace("0.75", "0.5"))
    second = stamp()
    assert second != first
    os.utime(curated.parents[1] / "faces" / "005.png", (1, 1))
    assert stamp() not in (first, second)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.png")
    folder_of(tmp_path / "faces", 1)
    (tmp_path / "faces" / name).write_bytes(flat(3))
    source = spec.source_of(str(tmp_path / "faces"))
    write_description(tmp_path / "corpus.jsonl", (Row(entry.name) for entry in source), base=source.base)
    assert sorted(entry.name for entry in spec.source_of(str(tmp_path / "corpus.jsonl"))) == ["000.png", name]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "corpus.jsonl")
    with pytest.raises(DataError, match="--data takes"):
        spec.source_of(str(tmp_path / "corpus.jsonl"))


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    described(path, {"path": "a.png"}, "{")
    rows = read_description(path)
    assert next(rows) == (1, Row("a.png"))
    with pytest.raises(DataError, match="line 2"):
        next(rows)


def test_the_hub_is_pinned_to_the_commit(tmp_path: Path, offline_hub: Path) -> None:
    fill_cache(offline_hub, "alice/faces", OLDER, {"a.png": flat(1), "b.png": flat(2)}, "dataset")
    source = spec.source_of("hub:datasets/alice/faces@main")
    write_description(tmp_path / "corpus.jsonl", (Row(entry.name) for entry in source), base=source.base)
    fill_cache(offline_hub, "alice/faces", COMMIT, {"c.png": flat(3)}, "dataset")  # main moved on
    again = spec.source_of(str(tmp_path / "corpus.jsonl"))
    assert ([entry.name for entry in again], again.commit) == (["a.png", "b.png"], OLDER)


def test_lines_of_any_kind(tmp_path: Path) -> None:
    description.write_lines(tmp_path / "x.jsonl", ({"n": n} for n in range(3)))
    assert list(description.read_lines(tmp_path / "x.jsonl")) == [(1, {"n": 0}), (2, {"n": 1}), (3, {"n": 2})]
