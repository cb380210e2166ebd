"""Typed, strict recipes: YAML in and out, overrides, inheritance, messages with file and line.

`model` says what a recipe may hold, `document` reads YAML, `resolve` lays command line, recipe, base and defaults over
each other, `text` writes the result down, `lookup` finds the recipes that come with the program. Names are imported on
first use: finding and listing recipes needs neither pydantic nor YAML, and `animepggan recipes list` must be quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from animepggan.recipe.lookup import RecipeFile, find, read, shipped, title
    from animepggan.recipe.model import Recipe, schedule_of, schema
    from animepggan.recipe.resolve import Resolved, load
    from animepggan.recipe.text import difference, dump

_MODULES = {
    "model": ("Recipe", "schedule_of", "schema"),
    "resolve": ("Resolved", "load"),
    "lookup": ("RecipeFile", "find", "read", "shipped", "title"),
    "text": ("difference", "dump"),
}
__all__ = ["Recipe", "RecipeFile", "Resolved", "difference", "dump", "find", "load", "read"]
__all__ += ["schedule_of", "schema", "shipped", "title"]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
