"""From a base model to the start of a fine-tuning run: its weights, and the recipe values that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from animepggan.checkpoint import WEIGHTS, Found, find, load_networks, read_config, verify
from animepggan.errors import ModelError, RecipeError
from animepggan.recipe import Recipe
from animepggan.training.state import State, architecture_of

FEW = 1000
"""Fewer different pictures than this take the recipe `yui-few`, others `yui`."""


@dataclass(frozen=True)
class Base:
    """A checkpoint to start from: all three networks."""

    found: Found
    config: dict[str, Any]  # its config.json

    @property
    def resolution(self) -> int:
        """Where fine-tuning starts: the base's own resolution, at alpha 1."""
        return int(self.config["architecture"]["resolution"])

    @property
    def provenance(self) -> dict[str, Any]:
        """What a checkpoint made from this base says of it."""
        return {
            "spec": self.found.spec,
            "commit": self.found.commit,
            "name": self.config["provenance"].get("name"),
            "images_seen": self.config["position"]["images_seen"],
        }

    def recipe_values(self) -> dict[str, Any]:
        """The recipe that the base was trained by, with the architecture that it has now."""
        values = dict(self.config["provenance"]["recipe"])
        architecture = dict(self.config["architecture"])
        for key in ("resolution", "latent_dim"):
            values[key] = architecture.pop(key)
        return {**values, "network": architecture}


def open_base(spec: str) -> Base:
    """Find, fetch if it is on the hub, and verify a base; ModelError where it lacks a network that training needs."""
    found = find(spec, weights=WEIGHTS)
    if found.path.is_file():
        raise ModelError(
            f"{spec}: a lone weights file can be sampled but not fine-tuned: the discriminator is missing\n"
            "give the whole checkpoint folder"
        )
    config = read_config(found.path)
    provenance = config.get("provenance")
    if not isinstance(provenance, dict) or not isinstance(provenance.get("recipe"), dict):
        raise ModelError(f"{found.path}: damaged: config.json does not tell the recipe that the model was trained by")
    for name in WEIGHTS:
        if not (found.path / f"{name}.safetensors").is_file():
            raise ModelError(
                f"{found.path}: {name}.safetensors is missing; fine-tuning needs all of {', '.join(WEIGHTS)}"
            )
    verify(found.path, WEIGHTS)
    return Base(found, config)


def check_fit(recipe: Recipe, base: Base) -> None:
    """RecipeError, naming every key, where the recipe asks for another architecture than the base has."""
    have = base.config["architecture"]
    want = architecture_of(recipe, recipe.resolution)
    differing = [key for key in want if want[key] != have.get(key)]
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


def load_base(state: State, base: Base) -> None:
    """Copy the base's three networks into a state of its architecture; the optimizers start afresh."""
    for role, network in load_networks(base.found.path).items():
        state.networks[role].load_state_dict(network.state_dict())
