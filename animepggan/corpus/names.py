"""Names of pictures where a person or a program reads them: file names hold anything, terminals and logs do not."""

from __future__ import annotations

import json
import unicodedata
from typing import Any


def printable(text: str, limit: int = 160) -> str:
    """`text` on one line, with everything that is not printable escaped, cut after `limit` characters."""
    escaped = escape(text[: limit + 1])
    return escaped if len(escaped) <= limit else escaped[: limit - 3] + "..."


def composed(name: str) -> str:
    """The one spelling of a name in Unicode that is used in corpora (NFC)."""
    return unicodedata.normalize("NFC", name)


def escape(text: str) -> str:
    """`text` with everything that is not printable escaped, so that no name can steer a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def json_line(value: Any) -> str:
    """`value` as JSON on one line that a terminal and an editor can take, `\\n` at its end.

    Characters that are not printable (among them the halves that stand for bytes which are no text) are escaped, so
    that every name comes back as it was; all others stay readable.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return (text if text.isprintable() else json.dumps(value, allow_nan=False)) + "\n"
