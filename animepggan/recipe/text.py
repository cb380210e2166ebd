"""A recipe as text: the recipe.yaml of a run folder, and what differs between two recipes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from animepggan.recipe.document import scalar
from animepggan.recipe.keys import LEAVES, SECTIONS, Recipe, leaves
from animepggan.recipe.resolve import Resolved

_PLAIN = re.compile(r"[A-Za-z/][\w./@+-]*(:[\w./@+-]+)*", re.ASCII)
_OTHER_READERS = re.compile(r"(?i)yes|no|on|off|true|false|null|y|n")  # not text in YAML 1.1


def value_text(value: object) -> str:
    """`value` as YAML on one line, such that it is read back as the same."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: (key == "default", key))
        return "{" + ", ".join(f"{key}: {value_text(value[key])}" for key in keys) + "}"
    if isinstance(value, str):
        return _string_text(value)
    return str(value)


def _float_text(value: float) -> str:
    text = repr(value).removesuffix(".0")
    mantissa, exponent, power = text.partition("e")
    # Readers of YAML 1.1 take 1e-08 for text; 1.0e-08 is a number to all.
    return text if not exponent or "." in mantissa else f"{mantissa}.0e{power}"


def _string_text(text: str) -> str:
    if _PLAIN.fullmatch(text) and not _OTHER_READERS.fullmatch(text) and scalar(text) == text:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)


def dump(resolved: Resolved, *, describe: bool = False) -> str:
    """Every value, a line each, with where it came from; `load` reads it back to an equal recipe.

    With `describe`, a line also says what its key means.
    """
    lines = [f"# Resolved from {value_text(resolved.file)}: every value, and where it came from."]
    section = ""
    for key, value in leaves(resolved.recipe).items():
        parent, _, name = key.rpartition(".")
        if parent != section:
            section = parent
            lines.append(f"{section}:  # {SECTIONS[section].description}" if describe else f"{section}:")
        comment = resolved.origins[key] + (f"; {LEAVES[key].description}" if describe else "")
        lines.append(f"{'  ' if parent else ''}{name}: {value_text(value)}  # {comment}")
    return "\n".join(lines) + "\n"


def recipe_difference(a: Recipe, b: Recipe) -> list[tuple[str, object, object]]:
    """Every dotted key whose value differs, with both values, in the order of the model."""
    others = leaves(b)
    return [(key, value, others[key]) for key, value in leaves(a).items() if value != others[key]]
