"""YAML to plain values, strictly, with the line of every key.

A recipe must mean what it looks like, so only a small part of YAML is read: maps, lists and scalars, one document.
Tags, anchors, aliases and merges are refused; so is a key given twice. Scalars follow YAML 1.2: `1e-4` is a number,
`yes` and `010` are text. We walk the parser's events instead of letting PyYAML compose nodes or construct values: a
node no longer tells whether a tag stood in the file, and construction stops at the first error where we want them all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from yaml.reader import ReaderError

MAX_DEPTH = 8  # a recipe needs 3

KeyPath = tuple[str, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,999})")  # longer ones are text: int() is slow there, or refuses
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_SPECIAL = {".nan": "nan", ".NaN": "nan", ".NAN": "nan"} | {
    sign + word: f"{sign}inf" for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")
}


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a text."""

    line: int  # from 1
    key: str  # dotted; empty where none applies
    message: str


@dataclass
class Document:
    """What a text holds; `value` leaves out what was refused, so look at `problems` first."""

    value: object = None
    stopped: int | None = None  # the line at which an error ended the reading; from there on, nothing is known
    lines: dict[KeyPath, int] = field(default_factory=dict)  # of every key, from 1
    problems: list[Problem] = field(default_factory=list)


class _TooDeepError(Exception):
    """Holds the problem."""


_REFUSED = object()


def scalar(text: str) -> object:
    """What an unquoted scalar means: None, a bool, an int, a float, or the text itself."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(_SPECIAL[text]) if text in _SPECIAL else text


def dotted(path: KeyPath) -> str:
    """A key for people: parts joined by dots, a part that could confuse in quotes."""
    return ".".join(part if re.fullmatch(r"[\w<+-]+", part) else json.dumps(part) for part in path)


def parse(text: str) -> Document:
    """Read one YAML document; nothing is raised, all that is wrong is in `problems`, by line."""
    document = Document()
    try:
        _Reader(document, yaml.parse(text, Loader=yaml.SafeLoader)).read()
        stop = None
    except ReaderError as error:
        character = error.character if isinstance(error.character, int) else ord(error.character)
        line = text.count("\n", 0, error.position) + 1
        stop = Problem(line, "", f"YAML does not allow the character U+{character:04X}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"not YAML: {error.problem or error.context}"
        if "expected <block end>" in message or "mapping values" in message:
            message += "; check colons and indentation"
        stop = Problem(mark.line + 1 if mark else 1, "", message)
    except (ValueError, OverflowError):  # PyYAML lets these through, for "\UFFFFFFFF"
        stop = Problem(1, "", "not YAML: an escaped character that does not exist")
    except _TooDeepError as error:
        stop = error.args[0]
    if stop is not None:
        document.problems.append(stop)
        document.stopped = stop.line
    document.problems.sort(key=lambda problem: problem.line)
    return document


class _Reader:
    def __init__(self, document: Document, events: Iterator[yaml.Event]) -> None:
        self.document = document
        self._events = events

    def read(self) -> None:
        started = False
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if started:
                    self._problem(event, (), "a second document starts; a recipe is one")
                    return
                started = True
            elif isinstance(event, yaml.NodeEvent):
                root: dict[str, object] = {}
                if isinstance(event, yaml.MappingStartEvent):
                    self.document.value = root  # what was read before an error is worth checking, too
                value = self._value(event, (), root)
                self.document.value = None if value is _REFUSED else value

    def _problem(self, event: yaml.Event, path: KeyPath, message: str) -> None:
        self.document.problems.append(Problem(_line(event), dotted(path), message))

    def _allowed(self, event: yaml.NodeEvent, path: KeyPath) -> bool:
        """Whether the node is plain data; what is not is noted."""
        if isinstance(event, yaml.AliasEvent):
            self._problem(event, path, f"aliases (*{event.anchor}) are not allowed; write the value out")
            return False
        if event.anchor is not None:
            self._problem(event, path, f"anchors (&{event.anchor}) are not allowed")
        tag = getattr(event, "tag", None)
        if tag is not None:
            tag = tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(event, path, f"tags ({tag}) are not allowed")
        return tag is None

    def _value(self, event: yaml.Event, path: KeyPath, into: dict[str, object] | None = None) -> object:
        """The value that starts with `event`, read to its end; `into` is the map to add to."""
        if len(path) > MAX_DEPTH:
            raise _TooDeepError(Problem(_line(event), dotted(path[:3]), "nested too deep for a recipe"))
        assert isinstance(event, yaml.NodeEvent)
        allowed = self._allowed(event, path)
        value: object = _REFUSED
        if isinstance(event, yaml.ScalarEvent):
            value = scalar(event.value) if event.style is None else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._list(path)
        elif isinstance(event, yaml.MappingStartEvent):
            value = self._map(path, {} if into is None else into)
        return value if allowed else _REFUSED

    def _list(self, path: KeyPath) -> list[object]:
        items: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, str(len(items)))))
        return items

    def _map(self, path: KeyPath, values: dict[str, object]) -> dict[str, object]:
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._problem(event, path, "a key must be a word or a number")
                self._value(event, (*path, "?"))
                self._value(next(self._events), (*path, "?"))
                continue
            key = event.value
            here = (*path, key)
            usable = self._allowed(event, here)
            if key == "<<" and event.style is None:
                self._problem(event, here, "merges are not allowed; write the keys out")
                usable = False
            first = self.document.lines.get(here)
            if usable and first is not None:
                self._problem(event, here, f"given twice, first on line {first}")
                usable = False
            self.document.lines.setdefault(here, _line(event))
            known = values.get(key)
            # A section given twice is read into the first, so that what is wrong in it is found as well.
            value = self._value(next(self._events), here, known if isinstance(known, dict) else None)
            if usable and value is not _REFUSED:
                values[key] = value
        return values


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1
