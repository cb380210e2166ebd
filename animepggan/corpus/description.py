"""`corpus.jsonl`: what is known of each picture of a corpus, a line a picture, to be written by curation, edited by
hand and trained on.

Its paths are names in another SPEC. Which one stands in a file beside it (`corpus.source.json` beside `corpus.jsonl`,
one key, `spec`); a folder or an archive is named relative to the description, so that the two can be moved together.
Without that file the paths are relative to the description's own folder.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from animepggan.corpus.names import json_line, printable
from animepggan.corpus.source import reading
from animepggan.disk import expanded, replacing, write_text
from animepggan.errors import DataError

Status = Literal["keep", "copy", "near", "stranger", "bad"]
STATUSES: tuple[Status, ...] = get_args(Status)
TRAINED: frozenset[Status] = frozenset({"keep", "copy", "near"})
"""What training shows; of these, too, only rows of a weight over 0."""
REJECTED, KEPT = "rejected by hand", "kept by hand"
"""The reason of a row whose status a person gave it: curating again keeps it."""
_MAX_LINE = 1 << 20  # characters
_SCHEME = re.compile(r"(demo|hub):")


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one picture. Only `path` has to be there."""

    path: str  # name of the picture in the SPEC
    sha256: str | None = None  # decode.fingerprint of its pixels: whole, upright, over white
    cluster: int | None = None  # the same number for copies and near copies; None: a cluster of its own
    weight: float = 1.0  # how often it is drawn among its cluster's; 0: never
    status: Status = "keep"
    stranger_score: float | None = None  # higher: more suspicious
    reason: str = ""

    @property
    def trained(self) -> bool:
        """Whether training shows it."""
        return self.status in TRAINED and self.weight > 0

    @property
    def by_hand(self) -> bool:
        """Whether a person decided."""
        return self.reason in (REJECTED, KEPT)

    def decided(self, keep: bool, among: int) -> Row:
        """This row as a person decides it. `among`: pictures of its cluster, for the weight of one that had none."""
        if keep:
            return replace(self, status="keep", weight=self.weight or round(1 / among, 6), reason=KEPT)
        return replace(self, status="stranger", weight=0.0, reason=REJECTED)


_KEYS = tuple(field.name for field in fields(Row))


def write_description(path: Path, rows: Iterable[Row], *, base: str) -> None:
    """Write `rows` to `path` and beside it the SPEC that they are relative to (`Source.base`); each whole or not at
    all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lines(path, map(asdict, rows))
    write_text(_source_file(path), json_line({"spec": _relative(base, path.parent)}))


def write_lines(path: Path, values: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines of any kind to `path`, whole or not at all, so that no name in them harms a terminal."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(map(json_line, values))


def read_description(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows with their line numbers, one at a time. DataError names the line of the first mistake."""
    seen: dict[str, int] = {}
    for line, value in read_lines(path):
        with _named(path, line):
            row = _row(value)
            if row.path in seen:
                raise ValueError(f"{printable(row.path)} is on line {seen[row.path]} already")
        seen[row.path] = line
        yield line, row


def decisions_in(path: Path) -> dict[str, bool]:
    """What a person decided in the description at `path`: whether to keep, by sha256, or by name where there is none;
    nothing where there is no such file. DataError where it cannot be read.
    """
    if not path.exists():
        return {}
    return {row.sha256 or row.path: row.status != "stranger" for _, row in read_description(path) if row.by_hand}


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON lines file with their line numbers; DataError names the line that is none."""
    with reading(path), path.open("rb") as file:
        for line, text in enumerate(iter(partial(file.readline, _MAX_LINE), b""), 1):
            if line == 1:
                text = text.removeprefix(b"\xef\xbb\xbf")
            if not text.strip():
                continue
            with _named(path, line):
                if len(text) == _MAX_LINE:
                    raise ValueError("is too long a line")
                value = json.loads(
                    text.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_refuse_twice
                )
                if not isinstance(value, dict):
                    raise ValueError('is no JSON object, as in {"path": "a.png"}')
            yield line, value


def base_of(path: Path) -> str:
    """The SPEC that the paths of the description at `path` are relative to. DataError when it cannot be told."""
    file = _source_file(path)
    shown = printable(str(file))
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return str(path.parent)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{shown}: cannot be read: {printable(str(error))}\n{_SOURCE_FORM}") from error
    spec = value.get("spec") if isinstance(value, dict) else None
    if not isinstance(spec, str) or not spec or "\0" in spec or set(value) != {"spec"}:
        raise DataError(f"{shown}: does not say where the pictures are\n{_SOURCE_FORM}")
    if spec.lower().endswith(".jsonl"):
        raise DataError(f"{shown}: names a description, {printable(spec)}, not pictures\n{_SOURCE_FORM}")
    return spec if _SCHEME.match(spec) else os.path.normpath(path.parent / expanded(spec))


_SOURCE_FORM = 'it reads {"spec": "../faces"}: a folder or an archive relative to its own folder, or demo: or hub:'


def _source_file(path: Path) -> Path:
    return path.with_suffix(".source.json")


def _relative(base: str, folder: Path) -> str:
    if _SCHEME.match(base):
        return base
    try:
        return Path(os.path.relpath(Path(base).resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return str(Path(base).resolve())


@contextmanager
def _named(path: Path, line: int) -> Iterator[None]:
    """Name the line in which there is a mistake."""
    try:
        yield
    except (ValueError, RecursionError) as error:
        what = str(error)
        if isinstance(error, UnicodeDecodeError):
            what = "is not UTF-8"
        elif isinstance(error, json.JSONDecodeError):
            what = f"is not JSON: {error.msg} (character {error.colno})"
        elif isinstance(error, RecursionError):
            what = "is nested too deep"
        raise DataError(f"{printable(str(path))}, line {line}: {what}") from error


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number that can be used")


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise ValueError(f"{name!a} stands there twice")
    return dict(pairs)


def _row(value: dict[str, Any]) -> Row:
    """A row from the JSON of its line; ValueError in words that follow the line's number."""
    for key in value:
        if key not in _KEYS:
            hint = _meant(key, _KEYS) or f"; there are {', '.join(_KEYS)}"
            raise ValueError(f"{printable(ascii(key), 60)} is no key{hint}")
    path = value.get("path")
    if not isinstance(path, str) or not path:
        raise ValueError("`path` is missing" if path is None else "`path` has to be the name of a picture")
    sha256, cluster = value.get("sha256"), value.get("cluster")
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{64}", sha256)):
        raise ValueError(f"`sha256` has to be 64 hexadecimal digits, not {_shown(sha256)}")
    if cluster is not None and not (_is_whole(cluster) and 0 <= cluster < 1 << 31):
        raise ValueError(f"`cluster` has to be a whole number from 0, not {_shown(cluster)}")
    weight, score = value.get("weight", 1.0), value.get("stranger_score")
    if not _is_number(weight) or not weight >= 0:
        raise ValueError(f"`weight` has to be a number from 0, not {_shown(weight)}")
    if score is not None and not _is_number(score):
        raise ValueError(f"`stranger_score` has to be a number, not {_shown(score)}")
    status = value.get("status", "keep")
    if status not in STATUSES:
        hint = _meant(str(status), STATUSES)
        raise ValueError(f"`status` has to be one of {', '.join(STATUSES)}, not {_shown(status)}{hint}")
    reason = value.get("reason", "")
    if not isinstance(reason, str):
        raise ValueError(f"`reason` has to be text, not {_shown(reason)}")
    return Row(path, sha256, cluster, float(weight), status, None if score is None else float(score), reason)


def _meant(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    """Whether JSON's `value` is a number that a float can hold."""
    return (_is_whole(value) or isinstance(value, float)) and abs(value) < math.inf and abs(value) <= 1e300


def _shown(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False), 60)
