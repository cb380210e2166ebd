"""YAML as recipes read it: scalars of YAML 1.2, nothing clever, every line number right."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from animepggan.recipe.document import Problem, parse, scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.5", -0.5),
        ("64.0", 64.0),
        ("64", 64),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        *((text, text) for text in ("yes", "no", "on", "off", "y", "True", "FALSE", "Null", "010", "0x10", "0o10")),
        *((text, text) for text in ("1_000", "1:30", "2001-01-01", "1e", "e5", ".", "1.2.3", "١")),
    ],
)
def test_scalars(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)
    assert parse(f"key: {text}").value == {"key": value}


def test_a_scalar_in_quotes_is_text() -> None:
    assert parse("a: '64'\nb: \"true\"\nc: |\n  1\n").value == {"a": "64", "b": "true", "c": "1\n"}


def test_a_number_of_absurd_length_is_text() -> None:
    assert scalar("9" * 5000) == "9" * 5000


def test_lines_of_nested_keys() -> None:
    document = parse("# comment\na: 1\n\nb:\n  c: 2\n  d: {4: 5, e: 6}\r\nf: 1\n")
    assert document.problems == []
    assert document.value == {"a": 1, "b": {"c": 2, "d": {"4": 5, "e": 6}}, "f": 1}
    assert document.lines == {
        ("a",): 2,
        ("b",): 4,
        ("b", "c"): 5,
        ("b", "d"): 6,
        ("b", "d", "4"): 6,
        ("b", "d", "e"): 6,
        ("f",): 7,
    }


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("a: 1\nb: 2\na: 3\n", [Problem(3, "a", "given twice, first on line 1")]),
        ("4: 1\n'4': 2\n", [Problem(2, "4", "given twice, first on line 1")]),
        (
            "a:\n  x: 1\na:\n  x: 2\n",
            [Problem(3, "a", "given twice, first on line 1"), Problem(4, "a.x", "given twice, first on line 2")],
        ),
        ("a: !!int 5\n", [Problem(1, "a", "tags (!!int) are not allowed")]),
        ("a: !python/object:os.system x\n", [Problem(1, "a", "tags (!python/object:os.system) are not allowed")]),
        ("!x a: 5\n", [Problem(1, "a", "tags (!x) are not allowed")]),
        (
            "a: &b 5\nc: *b\n",
            [
                Problem(1, "a", "anchors (&b) are not allowed"),
                Problem(2, "c", "aliases (*b) are not allowed; write the value out"),
            ],
        ),
        ("a:\n  <<: {b: 1}\n", [Problem(2, "a.<<", "merges are not allowed; write the keys out")]),
        ("? [a, b]\n: 1\nc: 2\n", [Problem(1, "", "a key must be a word or a number")]),
        ("a: 1\n---\nb: 2\n", [Problem(2, "", "a second document starts; a recipe is one")]),
        ("a: 1\n\tb: 2\n", [Problem(2, "", "not YAML: found character '\\t' that cannot start any token")]),
        ("a: 1\nb: \x07\n", [Problem(2, "", "YAML does not allow the character U+0007")]),
        ('a: "\\UFFFFFFFF"\n', [Problem(1, "", "not YAML: an escaped character that does not exist")]),
        ("a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}\n", [Problem(1, "a.b.c", "nested too deep for a recipe")]),
    ],
)
def test_problems_with_their_lines(text: str, problems: list[Problem]) -> None:
    assert parse(text).problems == problems


def test_syntax_errors_keep_what_came_before() -> None:
    document = parse("a: 1\na: 2\nb: c: d\n")
    assert document.value == {"a": 1, "b": "c"}
    assert document.stopped == 3
    assert [problem.line for problem in document.problems] == [2, 3]
    assert "mapping values are not allowed here" in document.problems[1].message


def test_what_is_refused_is_left_out() -> None:
    document = parse("a: &x 1\nb: *x\nc: !y 2\n<<: {d: 1}\ne: 3\n")
    assert document.value == {"a": 1, "e": 3}


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "---\n...\n"])
def test_empty(text: str) -> None:
    assert parse(text).value is None
    assert parse(text).problems == []


@settings(max_examples=300)
@given(st.text(st.sampled_from("ab: \n{}[],-&*!\"'#<?|>%@\\U0\t1.~\x07\ud800\u2028"), max_size=40))
def test_no_text_raises(text: str) -> None:
    document = parse(text)
    lines = max(1, len(text.splitlines()) + 1)
    assert all(1 <= problem.line <= lines and problem.message for problem in document.problems)
