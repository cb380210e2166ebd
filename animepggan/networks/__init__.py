"""The two networks, in plain keyword arguments: no recipe is known here."""

from __future__ import annotations

from animepggan.networks.architecture import (
    ARCHITECTURE_KEYS,
    Architecture,
    build_discriminator,
    build_generator,
    check_architecture,
    complete,
)
from animepggan.networks.discriminator import Discriminator
from animepggan.networks.generator import Generator, channels_at

__all__ = [
    "ARCHITECTURE_KEYS",
    "Architecture",
    "Discriminator",
    "Generator",
    "build_discriminator",
    "build_generator",
    "channels_at",
    "check_architecture",
    "complete",
]
