"""Where a run begins: at fresh networks, at its base's, or at the newest whole checkpoint of the run that is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from animepggan.checkpoint import checkpoints_of, load_networks, look_up, read_config, read_tensors, tidy, verify
from animepggan.corpus import Corpus
from animepggan.corpus.names import printable
from animepggan.errors import ModelError, RecipeError
from animepggan.recipe import Recipe, recipe_difference, schedule_of
from animepggan.recipe.keys import LEAVES, SECTIONS
from animepggan.recipe.problems import nearest_key
from animepggan.run.checkpoints import without_places
from animepggan.run.folder import RECIPE, recipe_of_run
from animepggan.run.returns import Return, returns_in
from animepggan.sampling.draw import Precision, check_precision
from animepggan.training import State
from animepggan.transfer import Base, anchor, check_alone, check_unmoved, first_resolution, load_base

FREE_KEYS = (
    *("name", "data", "max_bad", "checkpoints.", "previews.", "log."),
    *("measures.every_kimg", "measures.name", "measures.count", "measures.backbone"),
)
"""Values that no tensor depends on: a run may go on with other ones. The pictures count by what they are, not where.

`measures.every_kimg` is one of them as long as it stays 0 or above: it decides whether pictures are held out.
"""
OTHERWISE = "--restart starts anew (the old run is moved aside), --output names another folder"


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a run trains on, and from."""

    corpus: Corpus
    base: Base | None = None
    base_corpus: Corpus | None = None  # of extend_data, at the recipe's resolution


@dataclass(frozen=True)
class RunOptions:
    """How a run goes; none of it is a value of the recipe, so a run may go on with others."""

    device: torch.device
    precision: Precision = "fp32"  # bf16: convolutions in bfloat16
    reference: bool = False  # trains by the plain step
    resume: bool = False  # there must be a run to go on from
    restart: bool = False  # a run in the folder is moved aside
    allow: Sequence[str] = ()  # keys of the recipe that may differ from the run in the folder
    patience: int | None = None  # measures without a better one after which the run ends; None: the default, 0: never

    def __post_init__(self) -> None:
        """RecipeError where they are out of their ranges or exclude each other."""
        check_precision(self.precision)
        if self.patience is not None and self.patience < 0:
            raise RecipeError(f"patience {self.patience} is not a number of measures from 0 on")
        if self.resume and self.restart:
            raise RecipeError("resume and restart exclude each other")
        for key in self.allow:
            if key not in LEAVES and key not in SECTIONS:
                near = nearest_key(key)
                raise RecipeError(
                    f"allow {printable(key)}: no recipe has this key{f'; did you mean {near}?' if near else ''}"
                )


@dataclass(frozen=True)
class Start:
    """Where a run starts or goes on."""

    state: State
    base: dict[str, Any] | None = None  # provenance of the base that it started from
    checkpoint: Path | None = None  # the one it goes on from
    returns: tuple[Return, ...] = ()  # so far
    notes: tuple[str, ...] = ()  # what the user should know


def begin(recipe: Recipe, inputs: Inputs, options: RunOptions) -> Start:
    """A run's first moment: fresh networks, or the base's."""
    if inputs.base is None:
        check_alone(recipe)
        return Start(_new_state(4, recipe, inputs, options))
    state = _new_state(inputs.base.resolution, recipe, inputs, options)
    load_base(state, inputs.base)
    return Start(state, inputs.base.provenance)


def take_up(folder: Path, recipe: Recipe, inputs: Inputs, options: RunOptions) -> Start:
    """The newest whole checkpoint of the run in `folder`, or the run's first moment when it has none yet.

    The notes name checkpoints that were passed over because they are damaged, a recipe that was lost, and a precision
    that changed. ModelError where the recipe, the pictures or the base are not the run's, or no checkpoint can be read.
    """
    tidy(folder / "checkpoints")
    notes = _check_recipe(folder, recipe, options.allow)
    found, damaged = _newest_whole(folder, recipe, inputs, options)
    if found is None:
        if damaged:
            raise ModelError(f"{damaged[0]}\nno checkpoint of this run can be read; {OTHERWISE}")
        return begin(recipe, inputs, options)
    checkpoint, config, state = found
    known = look_up(config, "provenance", "corpus")
    for key, pictures in (("fingerprint", inputs.corpus), ("extend_fingerprint", inputs.base_corpus)):
        if pictures is not None and look_up(known, key) != pictures.fingerprint and "data" not in options.allow:
            raise ModelError(
                f"{folder}: the pictures of {pictures.spec} are not the ones that this run was trained on\n"
                f"--allow data goes on all the same, {OTHERWISE}"
            )
    base = inputs.base
    resolution = schedule_of(recipe, first_resolution=first_resolution(base)).at(state.images_seen).resolution
    if not state.resolution <= resolution <= 2 * state.resolution:
        raise ModelError(
            f"{folder}: has come to {state.resolution} px with {state.images_seen} images, where this recipe is at "
            f"{resolution} px\ngive the schedule that it had, or {OTHERWISE}"
        )
    base_then = look_up(config, "provenance", "base")
    if base is not None:
        if (recipe.l2sp or recipe.extend) and "base" not in options.allow:
            check_unmoved(base, base_then)
        if recipe.l2sp:
            anchor(state, load_networks(base.found.path))
    notes += tuple(f"{error}; going on from {checkpoint.name}" for error in damaged)
    before = look_up(config, "provenance", "precision") or options.precision
    if before != options.precision:
        notes += (f"{folder}: trained in {before} so far, goes on in {options.precision}",)
    return Start(state, base_then, checkpoint, returns_in(config), notes)


def go_back(folder: Path, images_seen: int, recipe: Recipe, inputs: Inputs, options: RunOptions, now: Start) -> Start:
    """The newest whole checkpoint of at most `images_seen` images, else the run's first moment; `now` is where it had
    started or gone on.

    ModelError where it would have to be the first moment and the base has moved on since.
    """
    found, _ = _newest_whole(folder, recipe, inputs, options, images_seen)
    if found is not None:
        checkpoint, _, state = found
        state.anchors = now.state.anchors
        return Start(state, now.base, checkpoint, now.returns)
    if inputs.base is not None and "base" not in options.allow:
        check_unmoved(inputs.base, now.base)
    return replace(begin(recipe, inputs, options), returns=now.returns)


def agrees(folder: Path, recipe: Recipe, corpus: Corpus, allow: Sequence[str]) -> bool:
    """Whether the run in `folder` is one of this recipe, base and pictures."""
    try:
        _check_recipe(folder, recipe, allow)
        newest = (read_config(checkpoint) for checkpoint in reversed(checkpoints_of(folder)))
        config = next(newest, None)
    except ModelError:
        return False
    known = corpus.fingerprint if config is None else look_up(config, "provenance", "corpus", "fingerprint")
    return known == corpus.fingerprint or "data" in allow


def _check_recipe(folder: Path, recipe: Recipe, allow: Sequence[str]) -> tuple[str, ...]:
    """ModelError where the run in `folder` is of another recipe; else what the user should know."""
    known, notes = recipe_of_run(folder)
    if notes:  # of a checkpoint
        recipe = without_places(recipe)
    if known is None:
        if checkpoints_of(folder):
            raise ModelError(f"{folder / RECIPE}: lost, and no whole checkpoint tells it; {OTHERWISE}")
        return notes
    changed = [
        (key, old, new)
        for key, old, new in recipe_difference(known, recipe)
        if not key.startswith(FREE_KEYS) or (key == "measures.every_kimg" and bool(old) != bool(new))
        if not any(key == name or key.startswith(f"{name}.") for name in allow)
    ]
    if changed:
        listed = "; ".join(f"{key}: {old} there, {new} now" for key, old, new in changed)
        allowed = " ".join(f"--allow {key}" for key, _, _ in changed)
        raise ModelError(
            f"{folder}: holds a run of another recipe: {listed}\n{allowed} goes on all the same, {OTHERWISE}"
        )
    return notes


def _newest_whole(
    folder: Path,
    recipe: Recipe,
    inputs: Inputs,
    options: RunOptions,
    at_most: int | None = None,  # images
) -> tuple[tuple[Path, dict[str, Any], State] | None, list[ModelError]]:
    """The newest checkpoint that can be gone on from, its config.json and its state; and what is wrong with others."""
    found, damaged = None, []
    for checkpoint in reversed(checkpoints_of(folder)):  # last come those whose config.json is damaged
        try:
            config = read_config(checkpoint)
            if found is None and (at_most is None or config["position"]["images_seen"] <= at_most):
                verify(checkpoint)
                state = _new_state(config["architecture"]["resolution"], recipe, inputs, options)
                _restore(state, checkpoint, config)
                found = checkpoint, config, state
        except ModelError as error:
            damaged.append(error)
    return found, damaged


def _new_state(resolution: int, recipe: Recipe, inputs: Inputs, options: RunOptions) -> State:
    """Untrained networks."""
    base_resolution = None if inputs.base is None else inputs.base.resolution
    return State(recipe, resolution, options.device, reference=options.reference, base_resolution=base_resolution)


def _restore(state: State, checkpoint: Path, config: dict[str, Any]) -> None:
    """Fill the state from a checkpoint; ModelError where that is damaged or of another architecture."""
    for role, network in load_networks(checkpoint).items():
        try:
            state.networks[role].load_state_dict(network.state_dict())
        except RuntimeError as error:
            raise ModelError(f"{checkpoint / role}.safetensors: is not of this recipe's architecture") from error
    file = checkpoint / "resume.safetensors"
    kept = read_tensors(file)
    state.methods.load(kept)
    try:
        state.load_moments(kept)
    except ValueError as error:
        raise ModelError(f"{file}: damaged: {error}") from error
    state.images_seen = config["position"]["images_seen"]
    state.alpha = float(config["position"]["alpha"])
