"""What is wrong with the values of a recipe, in words: what a key needs, what stands there, which key was meant."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from animepggan.recipe.document import KeyPath
from animepggan.recipe.keys import LAYER, LEAVES, MAP, NUMBER, SECTIONS, Recipe


def problems_in(values: Mapping[str, object]) -> list[tuple[KeyPath, str]]:
    """What is wrong with some keys of a recipe, each by itself: its path and a message. A key may be missing."""
    try:
        Recipe.model_validate(values, context=LAYER)
    except ValidationError as error:
        return [
            (_path(problem["loc"]), _message(problem))
            for problem in error.errors(include_url=False)
            if problem["type"] != "missing"
        ]
    return []


def _path(location: tuple[int | str, ...]) -> KeyPath:
    # The marks that pydantic adds stand below a key of a section, so never among the first two parts.
    return tuple(str(part) for i, part in enumerate(location) if i < 2 or part not in (NUMBER, MAP, "[key]"))


_LIMITS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def _message(problem: Mapping[str, Any]) -> str:
    """What pydantic found, in our words: what the key needs and what stands there."""
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    path = _path(problem["loc"])
    if kind == "extra_forbidden":
        return _unknown_key(path, value)
    if kind == "resolution_key":
        return str(problem["msg"])
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        needs = f"needs {words} {context[name]:g}" if context[name] < 1e6 else f"needs {words} {context[name]}"
    elif kind in ("model_type", "model_attributes_type"):
        needs = f"needs keys below it ({', '.join(_children(path))})"
    else:
        needs = {
            "int_type": "needs a whole number",
            "float_type": "needs a number",
            "finite_number": "needs a finite number",
            "bool_type": "needs true or false",
            "string_type": "needs text",
            "string_too_short": "needs text",
            "string_unicode": "needs text that UTF-8 can hold",
            "too_short": "needs an entry",
            "literal_error": f"needs {context.get('expected')}".replace("'", ""),
        }.get(kind, problem["msg"])
    hint = ""
    if kind == "string_type" and not isinstance(value, Mapping | list):
        hint = "; quote text that starts with #" if value is None else "; put it in quotes"
    return f"{needs}, not {shown(value)}{hint}"


def _children(path: KeyPath) -> list[str]:
    section = ".".join(path)
    if not section:
        return [*(key for key in LEAVES if "." not in key), *SECTIONS]
    return [key.rpartition(".")[2] for key in LEAVES if key.startswith(f"{section}.")]


def _unknown_key(path: KeyPath, value: object) -> str:
    section, _, name = path[-1].rpartition(".")
    if path[-1] in LEAVES and section:
        return f"unknown key; in a file write `{section}:` and below it, indented, `{name}:`"
    near = _closest(path[-1], list(SECTIONS)) if isinstance(value, Mapping) and len(path) == 1 else None
    while isinstance(value, Mapping) and len(value) == 1:  # `--set netwrok.fmap_base=64`: the rest of the key helps
        ((inner, value),) = value.items()
        path = (*path, str(inner))
    near = near or nearest_key(".".join(path))
    if near:
        return f"unknown key; did you mean {near}?"
    section = path[0] if path[0] in SECTIONS else ""
    return f"unknown key; {section or 'a recipe'} has {', '.join(_children((section,) if section else ()))}"


def nearest_key(key: str) -> str | None:
    """The valid key that `key` was most likely meant to be: the same name elsewhere, else the nearest spelling."""
    name = key.rpartition(".")[2].lower().replace("-", "_")
    known = [*LEAVES, *SECTIONS]
    same = [other for other in known if other.rpartition(".")[2] == name]
    if same:
        return _closest(key, same) or same[0]
    by_name = {other.rpartition(".")[2]: other for other in reversed(known)}
    return _closest(key.lower().replace("-", "_"), known) or by_name.get(_closest(name, list(by_name)) or "")


def _closest(word: str, words: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, words, n=1)), None)


def shown(value: object) -> str:
    """A value as messages show it, on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a map" if value else "an empty map"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f'the text "{short(value)}"'
    return short(str(value))


def short(text: str) -> str:
    """`text` on one line, at most 60 characters of it."""
    text = text if text.isprintable() else json.dumps(text)[1:-1]
    return text if len(text) <= 60 else f"{text[:57]}..."
