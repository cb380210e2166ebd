"""Checkpoints: self-describing folders of safetensors, found, verified, loaded, saved."""

from __future__ import annotations

from animepggan.checkpoint.files import (
    FORMAT,
    RESUME,
    WEIGHTS,
    discard,
    look_up,
    read_config,
    read_tensors,
    tidy,
    verify,
    write_folder,
)
from animepggan.checkpoint.find import BEST, FoundModel, checkpoints_of, find, position_of
from animepggan.checkpoint.models import Loaded, load_generator, load_networks, read_network

__all__ = [
    "BEST",
    "FORMAT",
    "RESUME",
    "WEIGHTS",
    "FoundModel",
    "Loaded",
    "checkpoints_of",
    "discard",
    "find",
    "load_generator",
    "load_networks",
    "look_up",
    "position_of",
    "read_config",
    "read_network",
    "read_tensors",
    "tidy",
    "verify",
    "write_folder",
]
