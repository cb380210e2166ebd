"""How much a set's pictures differ from each other: the multi-scale structural similarity of random pairs."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from animepggan.streams import stream

PAIRS = 2000
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2; the finest scale first
WINDOW, DEVIATION = 11, 1.5  # pixels
_CHUNK = 64  # pairs


def ms_ssim(pictures: NDArray[np.uint8], *, seed: int = 0) -> float:
    """The mean multi-scale structural similarity (Wang et al. 2003) of random pairs of `pictures` [n, r, r, 3].

    1: all are the same; lower is more diverse (Odena et al. 2017). Up to 2000 pairs, all there are where that is less.
    Where a scale is smaller than the window of 11 pixels, the window is as large as it (at 2 px the last scale, whose
    fellows then share its weight). ValueError for fewer than two pictures or a side below 2.
    """
    count, side = pictures.shape[:2]
    if count < 2 or side < 2:
        raise ValueError(f"{count} pictures of {side} px are too few or too small")
    if count * (count - 1) // 2 <= PAIRS:
        pairs = torch.combinations(torch.arange(count))
    else:  # a few may come twice
        generator = stream("ms-ssim", seed)
        first = torch.randint(count, (PAIRS,), generator=generator)
        second = (first + torch.randint(1, count, (PAIRS,), generator=generator)) % count
        pairs = torch.stack([first, second], dim=1)
    total = 0.0
    for part in torch.split(pairs, _CHUNK):
        one, other = (torch.from_numpy(pictures[side]).permute(0, 3, 1, 2).float() for side in part.numpy().T)
        total += float(_similarity(one, other).double().sum())
    return total / len(pairs)


def _similarity(first: Tensor, second: Tensor) -> Tensor:
    """MS-SSIM of pictures [n, 3, r, r] of values 0 to 255, pair by pair: [n], 0 to 1.

    Structure that is opposed on some scale (a negative mean) counts as none.
    """
    scales = min(len(_WEIGHTS), int(math.log2(first.shape[-1])))
    weights = torch.tensor(_WEIGHTS[:scales]) / sum(_WEIGHTS[:scales])
    product = torch.ones(first.shape[:2])
    for scale, weight in enumerate(weights.tolist()):
        luminance, structure = _terms(first, second)
        term = structure if scale < scales - 1 else luminance * structure
        product = product * term.mean(dim=(2, 3)).clamp_min(0) ** weight
        first, second = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
    return product.mean(dim=1)


def _terms(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The luminance and the contrast-structure term (Wang et al. 2004, equations 6, 9, 10) at each pixel that has its
    whole window."""
    size = min(WINDOW, first.shape[-1])
    taps = torch.exp(-0.5 * ((torch.arange(size) - (size - 1) / 2) / (DEVIATION * size / WINDOW)) ** 2)
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)

    def smooth(values: Tensor) -> Tensor:
        return functional.conv2d(functional.conv2d(values, taps, groups=3), taps.transpose(2, 3), groups=3)

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    m1, m2 = smooth(first), smooth(second)
    v1, v2 = smooth(first * first) - m1 * m1, smooth(second * second) - m2 * m2
    both = smooth(first * second) - m1 * m2
    return (2 * m1 * m2 + c1) / (m1 * m1 + m2 * m2 + c1), (2 * both + c2) / (v1 + v2 + c2)
