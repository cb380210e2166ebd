"""From a base model to the start of a fine-tuning run: its weights, and the recipe values that follow from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from animepggan.checkpoint import (
    MANIFEST,
    WEIGHTS,
    FoundModel,
    find_model,
    load_networks,
    look_up,
    read_config,
    read_json,
    verify,
    without_place,
)
from animepggan.errors import ModelError, RecipeError
from animepggan.networks import channels_at
from animepggan.recipe import Recipe
from animepggan.training.state import State, architecture_of


@dataclass(frozen=True)
class Preset:
    """What fits a set of some size: between the recipe and the base, where neither command line nor recipe says."""

    clusters: int  # the size
    name: str  # what it is for; recipe.yaml says "preset NAME"
    recipe: str  # the shipped one that is taken where none is named
    values: Mapping[str, object]  # by dotted key


LEARNING_RATE, BATCH_SIZE = 0.005, 8
"""The most that a preset takes: at 0.02 in batches of 4, fine-tuning on anime faces ended in one blurred face."""

_FEW = {
    "augment": "none",
    "freeze_discriminator": 0,
    "returns": 2,
    "schedule.stabilize_kimg": 60.0,
    "schedule.ramp_kimg": 1.0,
    "schedule.decay_kimg": 0.0,
    "checkpoints.every_kimg": 10.0,
    "previews.every_kimg": 2.0,
    "measures.every_kimg": 0.0,
}
_MANY = {**_FEW, "schedule.stabilize_kimg": 400.0, "checkpoints.every_kimg": 50.0, "previews.every_kimg": 10.0}
PRESETS = (
    Preset(4000, "for thousands of pictures", "yui", values=_MANY),
    Preset(500, "for hundreds of pictures", "yui-few", values=_FEW),
    Preset(50, "for tens of pictures", "yui-few", values={**_FEW, "schedule.stabilize_kimg": 16.0}),  # longer copies
)
"""By the number of clusters, largest first; a set takes the nearest by ratio, so the borders are geometric means."""


def preset_for(clusters: int) -> Preset:
    """The preset of a set of so many clusters, 1 or more."""
    return min(PRESETS, key=lambda preset: abs(math.log(clusters / preset.clusters)))


@dataclass(frozen=True)
class Base:
    """A checkpoint to start from: all three networks."""

    found: FoundModel
    config: dict[str, Any]  # its config.json

    @property
    def resolution(self) -> int:
        """Where fine-tuning starts: the base's own resolution, at alpha 1."""
        return int(self.config["architecture"]["resolution"])

    @property
    def provenance(self) -> dict[str, Any]:
        """What a checkpoint made from this base says of it; nothing of where it lay."""
        files = read_json(self.found.path / MANIFEST)["files"]
        return {
            "spec": self.found.spec if self.found.commit else without_place(str(self.found.path)),
            "commit": self.found.commit,
            "name": self.config["provenance"].get("name"),
            "images_seen": self.config["position"]["images_seen"],
            "sha256": files["generator.safetensors"]["sha256"],
        }

    def recipe_values(self) -> dict[str, Any]:
        """The recipe that the base was trained by, with the architecture that it has now."""
        network = dict(self.config["architecture"])
        of_recipe = {key: network.pop(key) for key in ("resolution", "latent_dim")}
        return {**self.config["provenance"]["recipe"], **of_recipe, "network": network}


def first_resolution(base: Base | None) -> int:
    """Where a run starts: 4, or with a base at its resolution."""
    return 4 if base is None else base.resolution


def preset_values(preset: Preset, base: Base) -> dict[str, object]:
    """A preset for a base, by dotted key: no higher a learning rate and no larger batches than held on anime faces, nor
    than the base had at its end; nothing is frozen that is not there.
    """
    values = dict(preset.values)
    schedule = base.recipe_values().get("schedule") or {}
    for key, most in (("learning_rate", LEARNING_RATE), ("batch_size", BATCH_SIZE)):
        last = schedule.get(key)
        if isinstance(last, Mapping):  # of JSON, whose keys are text
            last = last.get(str(base.resolution), last.get("default"))
        if isinstance(last, (int, float)):
            values[f"schedule.{key}"] = min(most, last)
    frozen = values["freeze_discriminator"]
    if isinstance(frozen, int) and frozen > base.resolution:
        values["freeze_discriminator"] = 0
    return values


def open_base(spec: str) -> Base:
    """Find, fetch if it is on the hub, and verify a base; ModelError where it lacks a network that training needs."""
    found = find_model(spec, weights=WEIGHTS)
    if found.path.is_file():
        raise ModelError(
            f"{spec}: a lone weights file can be sampled but not fine-tuned: the discriminator is missing\n"
            "give the whole checkpoint folder"
        )
    config = read_config(found.path)
    if not isinstance(look_up(config, "provenance", "recipe"), dict):
        raise ModelError(f"{found.path}: damaged: config.json does not tell the recipe that the model was trained by")
    if missing := [name for name in WEIGHTS if not (found.path / f"{name}.safetensors").is_file()]:
        raise ModelError(
            f"{found.path}: {missing[0]}.safetensors is missing; fine-tuning needs all of {', '.join(WEIGHTS)}"
        )
    verify(found.path, WEIGHTS)
    return Base(found, config)


def check_fit(recipe: Recipe, base: Base) -> None:
    """RecipeError, naming every key, where the recipe asks for another architecture than the base has."""
    if recipe.extend and recipe.extend <= base.resolution:
        raise RecipeError(
            f"extend: {recipe.extend} is no more than the {base.resolution} px that {base.found.spec} has already\n"
            f"take {2 * base.resolution} or above, or leave it out"
        )
    if recipe.freeze_discriminator > base.resolution:
        raise RecipeError(
            f"freeze_discriminator: {recipe.freeze_discriminator} freezes nothing: {base.found.spec} has "
            f"{base.resolution} px\ntake {base.resolution} or below, or leave it out"
        )
    have = base.config["architecture"]
    want = architecture_of(recipe, base.resolution if recipe.extend else recipe.resolution)
    # A miner may come on top of any base: it begins as the identity.
    differing = [key for key in want if want[key] != have.get(key) and not (key == "miner" and want[key])]
    if differing:
        keys = "; ".join(
            f"{key if key in ('resolution', 'latent_dim') else f'network.{key}'} is {have.get(key)} in the base, "
            f"{want[key]} in the recipe"
            for key in differing
        )
        raise RecipeError(
            f"{base.found.spec}: the base does not fit the recipe: {keys}\n"
            "leave these keys out of the recipe and they are inherited, or choose another base"
        )


FEWEST_CHANNELS = 16
"""Of the last layers in the paper's own network, at 1024 px; its others have more."""


def narrow(recipe: Recipe, base: Base) -> str | None:
    """What to say where `extend` grows a base to layers of fewer channels than any of the paper's."""
    architecture = base.config["architecture"]
    left = channels_at(recipe.extend or base.resolution, architecture["fmap_base"], architecture["fmap_max"])
    if not recipe.extend or left >= FEWEST_CHANNELS:
        return None
    wider = {128: "anime-128", 256: "anime"}.get(recipe.extend, f"anime --set resolution={recipe.extend}")
    return (
        f"extend: at {recipe.extend} px {base.found.spec} has {left} channels left, which draw little detail\n"
        f"a wider base is wanted: `animepggan pretrain {wider} --data FACES` makes one, on a GPU"
    )


def check_alone(recipe: Recipe) -> None:
    """RecipeError where a run without a base asks for what only fine-tuning has."""
    for key in ("freeze_discriminator", "l2sp", "miner", "extend"):
        if getattr(recipe, key):
            raise RecipeError(f"{key}: is for fine-tuning, and there is no base\nname one with --base, or leave it out")


def load_base(state: State, base: Base) -> None:
    """Copy the base's three networks into a state of its architecture; the optimizers start afresh.

    The state may have a miner that the base lacks, and keeps it as it is.
    """
    networks = load_networks(base.found.path)
    for role, network in networks.items():
        missing, _ = state.networks[role].load_state_dict(network.state_dict(), strict=False)
        assert all(name.startswith("miner.") for name in missing)
    if state.recipe.l2sp:
        anchor(state, networks)


def anchor(state: State, base: Mapping[str, nn.Module]) -> None:
    """Give the state the weights of the base's networks, for l2sp to pull to."""
    for role in ("generator", "discriminator"):
        ours = dict(state.networks[role].named_parameters())
        state.anchors[role] = {
            name: torch.empty_like(ours[name], requires_grad=False).copy_(value.detach())
            for name, value in base[role].named_parameters()
        }


def check_unmoved(base: Base, known: object) -> None:
    """ModelError where `base` is not what `known`, the provenance of a run's base, says of it.

    A base may be a run that still goes on, and once another has started from it, l2sp needs its weights, extend its
    resolution, and a run that goes back to its start all of it.
    """
    now = base.provenance
    for key in ("commit", "images_seen", "sha256"):
        if now[key] != look_up(known, key):
            raise ModelError(
                f"{base.found.spec}: the base has moved on since the run started from it: "
                f"{key} was {look_up(known, key)} and is {now[key]}\n"
                "l2sp, extend and going back to the start need it as it was: name that checkpoint or revision with\n"
                "--base, and --allow base"
            )
