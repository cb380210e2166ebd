"""The architecture: what decides the functions that both networks compute, as one flat mapping.

It is what config.json and every weights file carry. A key that only one network takes stands in it all the same: a
generator file then tells with which discriminator it was trained.
"""

from __future__ import annotations

import inspect
from typing import Any

from animepggan.networks.discriminator import Discriminator
from animepggan.networks.generator import Generator

Architecture = dict[str, Any]
DEFAULTS: Architecture = {
    name: parameter.default
    for network in (Generator, Discriminator)
    for name, parameter in inspect.signature(network).parameters.items()
    if parameter.default is not parameter.empty
}
"""Of keys that came later than the first checkpoints, which lack them."""
GENERATOR_KEYS = tuple(inspect.signature(Generator).parameters)
DISCRIMINATOR_KEYS = tuple(inspect.signature(Discriminator).parameters)
ARCHITECTURE_KEYS = tuple(dict.fromkeys(GENERATOR_KEYS + DISCRIMINATOR_KEYS))


def build_generator(architecture: Architecture) -> Generator:
    """A generator with fresh weights; KeyError where `architecture` lacks a key."""
    return Generator(**{key: complete(architecture)[key] for key in GENERATOR_KEYS})


def build_discriminator(architecture: Architecture) -> Discriminator:
    """A discriminator with fresh weights; KeyError where `architecture` lacks a key."""
    return Discriminator(**{key: architecture[key] for key in DISCRIMINATOR_KEYS})


def complete(architecture: Architecture) -> Architecture:
    """`architecture` with the keys that it is too old to have."""
    return {**DEFAULTS, **architecture}


def check_architecture(architecture: Architecture) -> None:
    """ValueError, naming the key, where a value from a file is missing, unknown or out of any use."""
    limits = {"resolution": (4, 1024), "latent_dim": (1, 8192), "fmap_base": (1, 65536), "fmap_max": (1, 8192)}
    choices: dict[str, tuple[object, ...]] = {
        "norm": ("after", "before"),
        "statistic": ("stddev", "variance"),
        **dict.fromkeys(("norm_first", "norm_latent", "fused_down", "equalized_output", "miner"), (True, False)),
    }
    unknown = sorted(set(complete(architecture)) ^ set(ARCHITECTURE_KEYS))
    if unknown:
        raise ValueError(f"architecture: {unknown[0]} is {'unknown' if unknown[0] in architecture else 'missing'}")
    for key, value in architecture.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if key in limits:
            good = whole and limits[key][0] <= value <= limits[key][1]
        elif key == "group_size":
            good = value == "batch" or (whole and value >= 1)
        elif key == "to_rgb_gain":
            good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 100
        else:
            good = any(value is choice or (isinstance(choice, str) and value == choice) for choice in choices[key])
        if not good:
            raise ValueError(f"architecture: {key} is {value!r}")
    if architecture["resolution"] & (architecture["resolution"] - 1):
        raise ValueError(f"architecture: resolution {architecture['resolution']} is not a power of two")
