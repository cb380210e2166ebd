"""Weights files to networks: what sampling, fine-tuning and a resumed run load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from animepggan.checkpoint.files import CONFIG, WEIGHTS, open_weights, read_config, require_finite
from animepggan.errors import ModelError
from animepggan.networks import Architecture, Generator, build_discriminator, build_generator

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Loaded:
    """A generator ready to draw."""

    generator: Generator  # the EMA weights, in evaluation mode, float32
    alpha: float  # where its resolution's fade-in stood
    config: dict[str, Any]  # config.json, or the file's own metadata
    path: Path  # the weights file


def load_generator(path: Path, device: str | torch.device = "cpu") -> Loaded:
    """The EMA generator of a checkpoint folder, or of a lone weights file of a generator; ModelError otherwise."""
    file = path / "generator_ema.safetensors" if path.is_dir() else path
    generator, metadata = read_network(build_generator, file)
    config = read_config(path) if path.is_dir() and (path / CONFIG).is_file() else metadata
    generator.requires_grad_(False).eval()
    generator.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Loaded(generator, float(metadata["position"]["alpha"]), config, file)


def load_networks(folder: Path) -> dict[str, nn.Module]:
    """All three networks of a checkpoint folder, by their file's name; ModelError where they are not of one model."""
    architecture = read_config(folder)["architecture"]
    networks: dict[str, nn.Module] = {}
    for role in WEIGHTS:
        file = folder / f"{role}.safetensors"
        build: Callable[[Architecture], nn.Module] = build_discriminator if role == "discriminator" else build_generator
        networks[role], metadata = read_network(build, file)
        if metadata["architecture"] != architecture:
            raise ModelError(f"{file}: damaged: its architecture is not the one that {CONFIG} beside it tells")
    return networks


def read_network(build: Callable[[Architecture], Network], file: Path) -> tuple[Network, dict[str, Any]]:
    """The network in a weights file and the file's metadata; ModelError where its tensors are not what that says, or
    hold numbers that are not finite.

    `build` makes the network without memory first, and shapes are compared before a tensor is read: a file that lies
    about its size is refused before anything is allocated.
    """
    with open_weights(file) as (weights, metadata):
        with torch.device("meta"):
            network = build(metadata["architecture"])
        wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        found = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                raise ModelError(
                    f"{file}: does not fit its own architecture: {name} is {found.get(name, 'missing')}, "
                    f"not {wanted.get(name, 'expected')}"
                )
        tensors = {name: weights.get_tensor(name) for name in wanted}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ModelError(f"{file}: {name} holds {tensor.dtype}, not numbers with a fraction")
        require_finite(tensor, name, file)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return network, metadata
