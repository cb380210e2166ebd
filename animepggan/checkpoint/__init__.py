"""Checkpoints: self-describing folders of safetensors, found, verified, loaded, saved."""

from __future__ import annotations

from animepggan.checkpoint.files import FORMAT, RESUME, WEIGHTS, read_config, read_tensors, tidy, verify, write_folder
from animepggan.checkpoint.find import BEST, Found, checkpoints_of, find
from animepggan.checkpoint.models import Loaded, load_generator, load_networks, read_network

__all__ = [
    "BEST",
    "FORMAT",
    "RESUME",
    "WEIGHTS",
    "Found",
    "Loaded",
    "checkpoints_of",
    "find",
    "load_generator",
    "load_networks",
    "read_config",
    "read_network",
    "read_tensors",
    "tidy",
    "verify",
    "write_folder",
]
