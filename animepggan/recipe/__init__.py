"""Typed, strict recipes: YAML in and out, overrides, inheritance, messages with file and line.

`keys` says what a recipe may hold, `document` reads YAML, `resolve` lays command line, recipe, base and defaults over
each other, `text` writes the result down, `lookup` finds the recipes that come with the program. Names are imported on
first use: finding and listing recipes needs neither pydantic nor YAML, and `animepggan recipes list` must be quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from animepggan.recipe.keys import Recipe, schedule_of, schema
    from animepggan.recipe.lookup import RecipeFile, find_recipe, read_recipe, shipped, title
    from animepggan.recipe.resolve import Resolved, load_recipe
    from animepggan.recipe.text import dump, recipe_difference

_MODULES = {
    "keys": ("Recipe", "schedule_of", "schema"),
    "resolve": ("Resolved", "load_recipe"),
    "lookup": ("RecipeFile", "find_recipe", "read_recipe", "shipped", "title"),
    "text": ("dump", "recipe_difference"),
}
__all__ = ["Recipe", "RecipeFile", "Resolved", "dump", "find_recipe", "load_recipe", "read_recipe", "recipe_difference"]
__all__ += ["schedule_of", "schema", "shipped", "title"]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
