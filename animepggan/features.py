"""Backbones: pictures in, embeddings out. No picture files and no measures here.

A backbone is a pretrained image classifier or a self-supervised network of timm, without its last layer. Its weights
come as safetensors: from the hub (at a commit, with the `config.json` that timm writes beside them) or from a file
whose metadata names its architecture (`FILE.safetensors`, or `ARCHITECTURE=FILE.safetensors`). Which backbone is the
default, and what serves where there is no network, `interop.backbones` decides.

timm takes seconds to import, so it waits until a backbone is opened.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from animepggan import hub
from animepggan.disk import expanded, sha256_of
from animepggan.errors import ModelError

ARCHITECTURE = "architecture"  # the key of a weights file's metadata under which timm's name of the architecture stands

SIZE = 224
"""Pixels a side that pictures are brought to, at most. What was trained on more (DINOv2: 518) is asked for less: the
attention of 37 x 37 patches costs eight times that of 16 x 16, and faces are rarely stored that large."""

BATCH = 32  # pictures that the network sees at once

FILES = ("config.json", "model.safetensors")  # what is read of a hub repository

TAKES = "--backbone takes hub:owner/name[@revision], FILE.safetensors or ARCHITECTURE=FILE.safetensors"


@dataclass(frozen=True)
class Backbone:
    """A network that turns pictures into embeddings, and what has to stand beside every number made with it."""

    architecture: str  # timm's name
    origin: str  # where the weights came from: hub:owner/name, a file's name, a package with its version
    revision: str  # the commit at the hub (40 hexadecimal digits), else the sha256 of the weights file (64)
    size: int  # pixels a side of what the network sees
    dimension: int  # of an embedding
    fixed: bool  # whether the architecture takes this size only
    device: torch.device
    network: nn.Module = field(repr=False, compare=False)
    mean: Tensor = field(repr=False, compare=False)  # [1, 3, 1, 1], of values in [0, 1]
    deviation: Tensor = field(repr=False, compare=False)

    @property
    def label(self) -> str:
        """One line that says which backbone this is, for reports and for the keys of caches."""
        return f"{self.architecture} at {self.size} px from {self.origin}@{self.revision[:12]}"

    @torch.inference_mode()
    def embed(self, pictures: NDArray[np.uint8], *, batch_size: int = BATCH) -> NDArray[np.float32]:
        """The embeddings of uint8 RGB pictures `[n, height, width, 3]`: float32 `[n, dimension]`, not normalized.

        Pictures of another size than `size` are resized with an antialiased bicubic filter, each side on its own; cut
        them to squares before. Deterministic on a CPU, but for the last bits, which depend on the batch.
        """
        if pictures.ndim != 4 or pictures.shape[-1] != 3 or pictures.dtype != np.uint8:
            raise ValueError(f"uint8 pictures [n, height, width, 3] wanted, not {pictures.dtype} {pictures.shape}")
        embeddings = np.empty((len(pictures), self.dimension), np.float32)
        for start in range(0, len(pictures), batch_size):
            batch = slice(start, start + batch_size)
            embeddings[batch] = self.network(self._input(pictures[batch])).float().cpu().numpy()
        return embeddings

    @torch.inference_mode()
    def describe(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What telling characters apart needs, and tells near copies too: float32 `[n, m]`, m other than `dimension`.

        Mean and standard deviation over all places of the features at two depths (the last two scales of a
        convolutional network, two thirds and the end of a transformer), each of the four of length one: the style of
        a drawing is in the deviations, and half-way up better than at the end, which was trained to name things.
        """
        network: Any = self.network
        depths = len(network.feature_info)
        scales = {scale["reduction"] for scale in network.feature_info}
        chosen = [depths - 2 if len(scales) > 1 else depths * 2 // 3 - 1, depths - 1]
        parts: list[NDArray[np.float32]] = []
        for start in range(0, len(pictures), BATCH):
            batch = self._input(pictures[start : start + BATCH])
            maps = network.forward_intermediates(batch, indices=chosen, intermediates_only=True)
            pooled = [value for each in maps for value in (each.mean(dim=(2, 3)), each.std(dim=(2, 3), correction=0))]
            parts.append(torch.cat([functional.normalize(value.float()) for value in pooled], dim=1).cpu().numpy())
        return np.concatenate(parts)

    def at(self, size: int) -> Backbone:
        """This backbone with another size of its input, where its architecture takes any; else as it is."""
        return self if self.fixed else replace(self, size=size)

    def _input(self, pictures: NDArray[np.uint8]) -> Tensor:
        """What the network sees: float32 [n, 3, size, size], normalized as it was trained."""
        values = torch.from_numpy(np.ascontiguousarray(pictures)).to(self.device).permute(0, 3, 1, 2).float()
        if values.shape[2:] != (self.size, self.size):
            side = (self.size, self.size)
            values = functional.interpolate(values, side, mode="bicubic", antialias=True).clamp_(0, 255)
        values = (values / 255 - self.mean) / self.deviation
        return values.contiguous(memory_format=torch.channels_last)


def open_backbone(spec: str, *, device: torch.device | str = "cpu") -> Backbone:
    """Load a backbone: `hub:owner/name[@revision]`, `FILE.safetensors` or `ARCHITECTURE=FILE.safetensors`.

    Raises ModelError where the file is missing, damaged or of an unknown architecture; HubError. Of a hub repository
    whose full commit is named and cached, nothing is asked of the hub.
    """
    if spec.startswith("hub:"):
        return _from_hub(spec, device)
    architecture, equals, name = spec.rpartition("=")
    if equals and not architecture.replace("_", "").replace(".", "").isalnum():
        architecture, name = "", spec  # a path with a = in it
    path = expanded(name)
    if path.suffix != ".safetensors":
        raise ModelError(f"{spec!a} is no backbone\n{TAKES}")
    return from_file(path, architecture or None, origin=path.name, device=device)


def from_file(
    path: Path,
    architecture: str | None = None,  # None: what the file's metadata says
    *,
    origin: str,
    revision: str | None = None,  # None: the sha256 of the file
    device: torch.device | str = "cpu",
    config: Mapping[str, Any] | None = None,  # timm's: input_size, mean, std; None: those of the architecture
) -> Backbone:
    """Load a backbone from a safetensors file of timm's parameter names. Raises ModelError."""
    weights, metadata = _read(path)
    architecture = architecture or metadata.get(ARCHITECTURE)
    if not architecture:
        raise ModelError(
            f"{path}: its metadata does not name the architecture\n"
            f"say it as timm's name: --backbone ARCHITECTURE={path.name}"
        )
    network, config = _build(architecture, weights, config or {}, path)
    side = _side(config)
    with torch.inference_mode():  # of the network, since timm's attributes mean different things by architecture
        dimension = network(torch.zeros(1, 3, side, side)).shape[1]
    return Backbone(
        architecture=architecture,
        origin=origin,
        revision=revision or sha256_of(path),
        size=side,
        dimension=dimension,
        fixed=bool(config.get("fixed_input_size")),
        device=torch.device(device),
        network=network.to(device=device, memory_format=torch.channels_last),  # type: ignore[call-overload]
        mean=torch.tensor(config["mean"]).view(1, 3, 1, 1).to(device),
        deviation=torch.tensor(config["std"]).view(1, 3, 1, 1).to(device),
    )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no such file\n{TAKES}") from error
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}\n{TAKES}") from error
    except SafetensorError as error:
        raise ModelError(f"{path}: not a safetensors file, or damaged: {error}") from error


def _from_hub(spec: str, device: torch.device | str) -> Backbone:
    parsed = hub.parse_spec(spec)
    if parsed.kind != "model" or parsed.subfolder is not None:
        raise ModelError(f"{spec!a} is no backbone\n{TAKES}")
    local = hub.fetch(spec, allow_patterns=FILES, wanted=" and ".join(FILES))
    try:
        description = json.loads((local.path / FILES[0]).read_text(encoding="utf-8-sig"))
        architecture, config = str(description["architecture"]), dict(description["pretrained_cfg"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{parsed}: its config.json is none of timm's: not a backbone") from error
    origin = f"hub:{parsed.repo}"
    path = local.path / FILES[1]
    return from_file(path, architecture, origin=origin, revision=local.revision, device=device, config=config)


def _side(config: Mapping[str, Any]) -> int:
    return min(int(config["input_size"][-1]), SIZE)


def _build(
    architecture: str, weights: dict[str, Tensor], config: Mapping[str, Any], path: Path
) -> tuple[nn.Module, Mapping[str, Any]]:
    """The network with its weights, ready to be asked, and how its input is made."""
    import timm

    # timm tells at length what it does; what matters of it is in our errors.
    logging.getLogger("timm").setLevel(logging.ERROR)
    if not timm.is_model(architecture):
        raise ModelError(f"{path}: timm {timm.__version__} knows no architecture {architecture!a}")
    known = timm.get_pretrained_cfg(architecture)
    config = {**(asdict(known) if known is not None else {}), **config}
    head = weights.get(f"{config.get('classifier')}.weight")
    # As many classes as the file has: only then does timm insist on every weight.
    classes = 0 if head is None else len(head)
    config |= {"num_classes": classes, "state_dict": weights, "custom_load": False}
    options: dict[str, Any] = {"pretrained": True, "pretrained_cfg_overlay": config, "num_classes": classes}
    if config.get("fixed_input_size") and _side(config) != int(config["input_size"][-1]):
        options["img_size"] = _side(config)  # transformers: their position embeddings are resampled while loading
    try:
        network = timm.create_model(architecture, **options)
    except (RuntimeError, KeyError, ValueError, TypeError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path}: its weights do not fit timm's {architecture}: {reason[:160]}") from error
    network.reset_classifier(0)  # type: ignore[operator]  # a method of every model of timm's
    return network.eval().requires_grad_(False), config
