"""Untrained models for tests, in memory and as checkpoint folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from networks import tiny

from animepggan.checkpoint import FORMAT, Loaded, write_folder
from animepggan.networks import Generator, build_generator


def generator(architecture: dict[str, Any]) -> Generator:
    """A generator whose weights, biases included, are random but always the same."""
    torch.manual_seed(0)
    built = build_generator(architecture).requires_grad_(False).eval()
    for name, parameter in built.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(std=0.1)
        if name.startswith("to_rgb") and name.endswith("weight"):
            parameter.mul_(0.4)  # most values inside [-1, 1], so that pictures show what the network does
    return built


def loaded(resolution: int = 16, alpha: float = 1.0, **changes: Any) -> Loaded:
    """A tiny generator as `load_generator` returns it."""
    return Loaded(generator(tiny(resolution, **changes)), alpha, {}, Path("model.safetensors"))


def save_model(folder: Path, resolution: int = 16, alpha: float = 1.0, **changes: Any) -> Path:
    """A checkpoint folder that holds what sampling needs: the EMA generator of `loaded`."""
    architecture = tiny(resolution, **changes)
    config = {
        "format": FORMAT,
        "architecture": architecture,
        "position": {"images_seen": 1234, "resolution": resolution, "phase": "stabilize", "alpha": alpha},
        "provenance": {"name": "tiny", "saved_at": "2020-01-01T00:00:00.000000+00:00"},
    }
    write_folder(folder, {"generator_ema": generator(architecture).state_dict()}, config)
    return folder
