"""Latents to pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from animepggan.checkpoint import Loaded
from animepggan.errors import ModelError, RecipeError, resource_errors
from animepggan.networks import Generator
from animepggan.sampling.fold import fold
from animepggan.sampling.latents import latents_of

Precision = Literal["fp32", "bf16"]

MEAN_SEEDS = 4096
"""Truncation pulls toward the mean of seeds 0 to 4095."""
LARGEST_CHUNK = 8  # pictures: the lower blocks, whose weights are large, take them together,
TOGETHER = 32  # pixels a side, up to this one; the higher ones, whose features are large, a few at a time
CPU_CHUNK_PIXELS = 1 << 16  # 1 picture at 256: the features of more do not stay in the cache
GPU_CHUNK_PIXELS = 1 << 20
FILLED_CHUNK = 4  # pictures, in bfloat16: see `draw`


def check_precision(precision: str) -> None:
    """RecipeError where it is none."""
    if precision not in get_args(Precision):
        raise RecipeError(f"precision {precision!r} is neither {' nor '.join(get_args(Precision))}")


def to_uint8(pictures: Tensor) -> NDArray[np.uint8]:
    """Pictures [n, 3, h, w] of values in [-1, 1], cut off outside, to [n, h, w, 3] of 0 to 255."""
    scaled = pictures.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()


@torch.inference_mode()
def mean_features(generator: Generator) -> Tensor:
    """The mean of the first layer's output over seeds 0 to 4095: [1, c, 4, 4]."""
    device = next(generator.parameters()).device
    latents = torch.stack(list(latents_of(range(MEAN_SEEDS), generator.latent_dim)))
    # A mean of means: in float32 one sum over 4096 numbers would lose digits.
    means = [generator.first_features(chunk.to(device)).mean(dim=0) for chunk in torch.split(latents, 256)]
    return torch.stack(means).mean(dim=0, keepdim=True)


@resource_errors()
def draw(
    loaded: Loaded,
    latents: Iterable[Tensor],  # each [latent_dim]
    *,
    truncation: float = 1.0,  # 0: the mean face only; 1: untouched; to 2: further from the mean
    precision: Precision = "fp32",
    resolution: int | None = None,  # pixels a side, at most the model's own; smaller: means of 2x2 pixels
) -> Iterator[NDArray[np.uint8]]:
    """One picture [h, w, 3] a latent, in order, drawn as they are asked for.

    Latents are taken in chunks, so that memory stays bounded. In fp32 a latent's picture is the same within 1/255
    whatever is drawn beside it; in bf16, whose roundings are larger, the last chunk is filled up, so that the
    arithmetic of a picture does not depend on how many there are. RecipeError where `truncation` is out of its
    range or `resolution` is not one that this model has; ModelError where the model's numbers are not finite;
    ResourceError for want of memory.
    """
    check_precision(precision)
    if not 0 <= truncation <= 2:
        raise RecipeError(f"truncation {truncation} is not a number from 0 to 2")
    own, wanted = loaded.generator.resolution, resolution or loaded.generator.resolution
    if wanted < 4 or wanted & (wanted - 1):
        raise RecipeError(f"resolution {wanted} is not a power of two from 4 on")
    if wanted > own:
        raise RecipeError(f"resolution {wanted}: this model draws {own} px and nothing larger")
    mean = mean_features(loaded.generator) if truncation != 1 else None
    generator = fold(loaded.generator, torch.bfloat16 if precision == "bf16" else torch.float32)

    def pictures() -> Iterator[NDArray[np.uint8]]:
        with resource_errors():
            yield from _draw(loaded, generator, latents, truncation, mean, own // wanted)

    return pictures()


def _draw(
    loaded: Loaded,
    generator: Generator,
    latents: Iterable[Tensor],
    truncation: float,
    mean: Tensor | None,
    factor: int,
) -> Iterator[NDArray[np.uint8]]:
    weight = next(generator.parameters())
    size = LARGEST_CHUNK if weight.dtype == torch.float32 else FILLED_CHUNK
    remaining = iter(latents)
    while chunk := list(islice(remaining, size)):
        count = len(chunk)
        if weight.dtype != torch.float32:
            chunk += chunk[-1:] * (size - count)
        # Not around the yield: the mode would leak into the caller.
        with torch.inference_mode():
            features = generator.first_features(torch.stack(chunk).to(weight))
            if mean is not None:
                features = (mean + truncation * (features.float() - mean)).to(weight.dtype)
            # Convolutions of a channels-last tensor take two thirds of the time on a CPU.
            features = features.contiguous(memory_format=torch.channels_last)
            side = min(TOGETHER, max(4, generator.resolution // 2))
            features = generator.up_to(side, features)
        pixels = CPU_CHUNK_PIXELS if weight.device.type == "cpu" else GPU_CHUNK_PIXELS
        step = max(1, pixels // generator.resolution**2)
        for start in range(0, count, step):
            with torch.inference_mode():
                few = features[start : start + step]  # of a filled chunk, what fills it too
                pictures = generator.from_block(side, few, loaded.alpha)[: count - start].float()
                if factor > 1:
                    pictures = functional.avg_pool2d(pictures, factor)
                if not bool(pictures.isfinite().all()):
                    raise ModelError(
                        f"{loaded.path}: draws numbers that are not finite: the weights are damaged or diverged"
                    )
                drawn = to_uint8(pictures)
            yield from drawn
