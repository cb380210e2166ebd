"""A recipe from its sources: command line over recipe over preset over base over default, key by key.

Each source is checked by itself, so that every message can say where its key stands, and all messages come at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from animepggan.errors import ModelError, RecipeError
from animepggan.recipe import document, lookup
from animepggan.recipe.document import KeyPath, Problem, dotted
from animepggan.recipe.keys import BY_RESOLUTION, LAYER, LEAVES, Recipe, contradictions, flatten, nest
from animepggan.recipe.problems import problems_in, short, shown

NEVER_INHERITED = frozenset(
    {"name", "data", "seed", "base", "max_bad", "returns"}
    | {"augment", "apa", "lecam", "freeze_discriminator", "l2sp", "miner", "extend", "extend_data", "extend_share"}
    | {"schedule.fade_kimg", "schedule.stabilize_kimg", "schedule.ramp_kimg", "schedule.decay_kimg"}
    | {key for key in LEAVES if key.startswith(("augmentation.", "checkpoints.", "previews.", "measures.", "log."))}
)
"""What belongs to a run and not to its model: fine-tuning does not take these from the base."""
FADE, STABILIZE = "schedule.fade_kimg", "schedule.stabilize_kimg"


@dataclass(frozen=True)
class _Value:
    value: object
    place: str  # for messages: `recipes/x.yaml:12`, `--set seed=1`, `--seed`


Given = Mapping[str, Mapping[str, _Value]]


@dataclass(frozen=True)
class Resolved:
    """A recipe and where each of its values came from; `load_recipe` makes them."""

    recipe: Recipe
    origins: dict[str, str]  # dotted key -> "command line", "recipe", "preset NAME", "base" or "default"
    file: str  # the recipe's file, as in messages
    _layers: Given = field(
        repr=False, compare=False, default_factory=dict
    )  # by origin, the one that wins first; then by dotted key
    _entries: Given = field(repr=False, compare=False, default_factory=dict)  # `--set schedule.batch_size.64=8`

    def inherit(self, base_values: Mapping[str, object]) -> Resolved:
        """Fine-tuning: every key that neither command line nor recipe sets takes the value of the base's recipe.

        `base_values` is that recipe as `Recipe.model_dump()` or JSON has it, or by dotted keys. Keys of
        NEVER_INHERITED, and keys that this version does not know, are passed over; a map is taken whole. What was
        inherited has the origin "base". ModelError where a value of the base is not valid, RecipeError where it does
        not go together with the recipe's.
        """
        base = {key: value for key, value in flatten(base_values).items() if key not in NEVER_INHERITED}
        if problems := problems_in(nest(base)):
            raise ModelError("\n".join(f"the base's recipe: {dotted(path)}: {message}" for path, message in problems))
        return self._over("base", base)

    def settled(self, name: str, values: Mapping[str, object]) -> Resolved:
        """With a preset laid between recipe and base: `values` by dotted keys, of the origin "preset `name`"."""
        assert not problems_in(nest(values)), "a preset is ours"
        return self._over(f"preset {name}", values)

    def revalued(self, key: str, value: object) -> Resolved:
        """With another value of a dotted key, from where the one before came."""
        origin = self.origins[key]
        layer = {**self._layers.get(origin, {}), key: _Value(value, self.file)}
        return _resolve(self.file, {**self._layers, origin: layer}, self._entries)

    def _over(self, origin: str, values: Mapping[str, object]) -> Resolved:
        """With one more layer; the base's is always the last."""
        layers = {**self._layers, origin: {key: _Value(value, self.file) for key, value in values.items()}}
        layers["base"] = layers.pop("base", {})
        return _resolve(self.file, layers, self._entries)


def load_recipe(
    spec: str | Path, *, overrides: Sequence[str] = (), settings: Mapping[str, object] | None = None
) -> Resolved:
    """The recipe of a path or shipped name, with `overrides` (`key.path=value`, as after `--set`) laid over it.

    `settings` are the values of other options (`{"seed": 3}` for `--seed 3`) by dotted key; they win over `overrides`,
    and None stands for an option that was not given. RecipeError holds everything that is wrong, a line each.
    """
    path = lookup.find_recipe(spec).path
    file = lookup.label(path)
    read = document.parse(lookup.read_recipe(path))
    found = read.problems
    recipe: dict[str, _Value] = {}
    if isinstance(read.value, dict):
        wrong = [Problem(_line_of(read.lines, key), dotted(key), message) for key, message in problems_in(read.value)]
        found = [*found, *(problem for problem in wrong if read.stopped is None or problem.line < read.stopped)]
        recipe = {
            key: _Value(value, f"{file}:{_line_of(read.lines, tuple(key.split('.')))}")
            for key, value in flatten(read.value).items()
        }
    elif not found:
        what = "empty" if read.value is None else f"not a recipe but {shown(read.value)}"
        raise RecipeError(f"{file}: {what}; a recipe is lines of `key: value`")
    found.sort(key=lambda problem: problem.line)
    problems = [_line(f"{file}:{problem.line}", problem.key, problem.message) for problem in found]

    command: dict[str, _Value] = {}
    entries: dict[str, dict[str, _Value]] = {}
    for override in overrides:
        problems += _override(override, command, entries)
    given = {key: value for key, value in (settings or {}).items() if value is not None}
    for key, value in given.items():
        option = f"--{key.rpartition('.')[2].replace('_', '-')}"
        command[key] = _Value(value, option)
        entries.pop(key, None)
        problems += [_line(option, dotted(path), message) for path, message in problems_in(nest({key: value}))]
    for key, leaf in LEAVES.items():
        if read.stopped is None and leaf.is_required() and (key,) not in read.lines and key not in command:
            problems.append(f"{file}: {key}: missing; every recipe has one")
    if problems:
        raise RecipeError("\n".join(problems))
    return _resolve(file, {"command line": command, "recipe": recipe}, entries)


def _resolve(file: str, layers: Given, entries: Given) -> Resolved:
    """Lay the sources over each other; RecipeError for what only shows once they are together."""
    values: dict[str, object] = {}
    origins = dict.fromkeys(LEAVES, "default")
    places: dict[str, str] = {}
    for key, leaf in LEAVES.items():
        for origin, layer in layers.items():
            if key in layer:
                values[key], origins[key], places[key] = layer[key].value, origin, layer[key].place
                break
        if key in entries:
            values[key] = _with_entries(values.get(key, leaf.default), entries[key])
            origins[key] = "command line"
            places[key] = list(entries[key].values())[-1].place
    if values.get("extend") and origins["resolution"] in ("default", "base"):
        values["resolution"], origins["resolution"] = values["extend"], origins["extend"]
    if values.get("extend") and origins[FADE] == "default":  # the default is made for pretraining
        values[FADE], origins[FADE] = values.get(STABILIZE, LEAVES[STABILIZE].default), origins[STABILIZE]
    recipe = Recipe.model_validate(nest(values), context=LAYER)
    if conflicts := contradictions(recipe):
        raise RecipeError("\n".join(_line(places.get(key, file), key, message) for key, message in conflicts))
    return Resolved(recipe, origins, file, layers, entries)


def _with_entries(value: object, entries: Mapping[str, _Value]) -> dict[str, object]:
    lower = value if isinstance(value, Mapping) else {"default": value}
    return {str(key): number for key, number in lower.items()} | {key: entry.value for key, entry in entries.items()}


def _override(text: str, command: dict[str, _Value], entries: dict[str, dict[str, _Value]]) -> list[str]:
    """Add one `key.path=value` to `command` or `entries`; what is wrong with it, a line each."""
    place = f"--set {short(text)}"
    key, equals, value_text = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not key.strip():
        return [f"{place}: needs key=value, as in --set schedule.batch_size=8"]
    read = document.parse(value_text)
    if read.problems:
        return [_line(place, problem.key, problem.message) for problem in read.problems]
    nested: Any = read.value
    for part in reversed(path):
        nested = {part: nested}
    problems = problems_in(nested)
    if problems:
        # The place names the key already, unless the error lies deeper, in a map given as the value.
        return [_line(place, dotted(where) if len(where) > len(path) else "", message) for where, message in problems]
    parent = ".".join(path[:-1])
    if parent in BY_RESOLUTION:
        entry = _Value(read.value, place)
        if parent in command:
            command[parent] = _Value(_with_entries(command[parent].value, {path[-1]: entry}), place)
        else:
            entries.setdefault(parent, {})[path[-1]] = entry
        return []
    for leaf, value in flatten(nested).items():
        command[leaf] = _Value(value, place)
        entries.pop(leaf, None)
    return []


def _line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """The line of a key, or of the nearest key above it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _line(place: str, key: str, message: str) -> str:
    return f"{place}: {key}: {message}" if key else f"{place}: {message}"
