"""The torch device that a name such as `auto` or `cuda:1` stands for on this machine."""

from __future__ import annotations

import re

import torch

from animepggan.errors import RecipeError


def device_of(name: str) -> torch.device:
    """`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:N` or `mps`; RecipeError where there is none such here."""
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name) is None:
        raise RecipeError(f"device {name!r} is none of auto, cpu, cuda, cuda:N, mps")
    kind, _, index = name.partition(":")
    mps = torch.backends.mps.is_available()
    if kind == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    gpus = torch.cuda.device_count()
    if (kind == "cuda" and int(index or 0) >= gpus) or (kind == "mps" and not mps):
        found = f"{gpus} CUDA device{'s' * (gpus != 1)}" if kind == "cuda" else "no MPS device"
        raise RecipeError(f"device {name}: torch finds {found} here; leave it out, or use cpu")
    return torch.device(name)
