"""How much pictures differ from each other: over all, and among those that are alike."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from animepggan.metrics.distances import Embeddings
from animepggan.streams import stream

PAIRS = 2000
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2; the finest scale first
WINDOW, DEVIATION = 11, 1.5  # pixels
CLUSTERS = 10  # as many as Ojha et al. 2021 have training pictures
ROUNDS = 20  # of k-means, at most
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
    pairs = _pairs(count, seed)
    total = 0.0
    for part in torch.split(pairs, _CHUNK):
        first, second = (
            torch.from_numpy(pictures[indices.numpy()]).permute(0, 3, 1, 2).float() for indices in part.unbind(1)
        )
        total += float(similarity(first, second).double().sum())
    return total / len(pairs)


def _pairs(count: int, seed: int) -> Tensor:
    """Pairs of different pictures: int64 [m, 2]; where there are many, a few may come twice."""
    generator = stream("ms-ssim", seed)
    if count * (count - 1) // 2 <= PAIRS:
        return torch.combinations(torch.arange(count))
    first = torch.randint(count, (PAIRS,), generator=generator)
    second = (first + torch.randint(1, count, (PAIRS,), generator=generator)) % count
    return torch.stack([first, second], dim=1)


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """MS-SSIM of pictures [n, 3, r, r] of values 0 to 255, pair by pair: [n], 0 to 1.

    Structure that is opposed on some scale (a negative mean) counts as none.
    """
    scales = min(len(WEIGHTS), int(math.log2(first.shape[-1])))
    weights = torch.tensor(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
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


def cluster_diversity(pictures: Embeddings, reference: Embeddings, *, seed: int = 0) -> float:
    """How much pictures differ that are alike, over how much the reference's do; 1: as much, 0: each kind is one
    picture (after Ojha et al. 2021, section 4.1, who measure it without the comparison).

    The reference is parted into 10 clusters by k-means and each picture goes to the nearest; of a cluster the mean
    distance of its pairs counts, weighted by how much of the reference is in it. Clusters without two members on both
    sides count as nothing. nan where none has.
    """
    centers = _k_means(torch.from_numpy(reference), min(CLUSTERS, len(reference)), seed)
    members = [torch.cdist(torch.from_numpy(values), centers).argmin(dim=1) for values in (pictures, reference)]
    ratio = weight = 0.0
    for cluster in range(len(centers)):
        spreads = []
        for values, label in zip((pictures, reference), members, strict=True):
            own = torch.from_numpy(values)[label == cluster][: 4 * PAIRS]
            spreads.append(_mean_distance(own) if len(own) > 1 else 0.0)
        if min(int((label == cluster).sum()) for label in members) > 1 and spreads[1] > 0:
            share = float((members[1] == cluster).double().mean())
            ratio += share * spreads[0] / spreads[1]
            weight += share
    return ratio / weight if weight else math.nan


def _mean_distance(values: Tensor) -> float:
    """Of all pairs of different rows."""
    count = len(values)
    total = sum(float(torch.cdist(part, values).double().sum()) for part in torch.split(values, 1024))
    return total / (count * (count - 1))


def _k_means(values: Tensor, count: int, seed: int) -> Tensor:
    """Centers [count, d], drawn as k-means++ does (Arthur & Vassilvitskii 2007), then moved."""
    generator = stream("clusters", seed)
    centers = values[torch.randint(len(values), (1,), generator=generator)]
    while len(centers) < count:
        nearest = torch.cdist(values, centers).min(dim=1).values.square()
        if not nearest.any():
            break
        centers = torch.cat([centers, values[torch.multinomial(nearest, 1, generator=generator)]])
    for _ in range(ROUNDS):
        label = torch.cdist(values, centers).argmin(dim=1)
        sums = torch.zeros_like(centers).index_add_(0, label, values)
        counts = torch.bincount(label, minlength=len(centers))[:, None]
        moved = torch.where(counts > 0, sums / counts.clamp_min(1), centers)
        if torch.equal(moved, centers):
            break
        centers = moved
    return centers
