"""How far two sets of embeddings [n, dimension] are apart, and how much of one the other covers: KID, Fréchet distance,
precision, recall, density, coverage, and the diversity inside clusters.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animepggan.errors import ModelError
from animepggan.streams import stream

Embeddings = NDArray[np.float32]
"""[n, dimension]."""

SUBSETS = 100
LARGEST_SUBSET = 1000  # pictures
PRECISION_NEIGHBORS = 3  # Kynkäänniemi et al. 2019, section 3
DENSITY_NEIGHBORS = 5  # Naeem et al. 2020, section 4
LEAST = DENSITY_NEIGHBORS + 1  # pictures a set
CLUSTERS = 10  # as many as Ojha et al. 2021 have training pictures
MEMBERS = 8000  # of a cluster, whose pairs are compared at most
ROUNDS = 20  # of k-means, at most
_CHUNK = 1024  # embeddings whose distances to all others are held at once


def require_fidelity() -> None:
    """Raise ModelError where torch-fidelity is not installed: better before the pictures are drawn than after."""
    if importlib.util.find_spec("torch_fidelity") is None:
        raise ModelError(
            "measures of embeddings need torch-fidelity\ninstall it with `pip install animepggan[measure]`, "
            "or leave them out: --backbone none"
        )


def _smaller(first: Embeddings, second: Embeddings, least: int) -> int:
    count = min(len(first), len(second))
    if count < least:
        raise ValueError(f"sets of {len(first)} and {len(second)} are too small")
    return count


def kernel_distance(first: Embeddings, second: Embeddings, *, seed: int = 0) -> tuple[float, float]:
    """KID (Binkowski et al. 2018, section 4): the squared maximum mean discrepancy with the kernel (x.y / d + 1)^3.

    The mean of 100 unbiased estimates from random subsets, so it may be a little below 0 for equal distributions, and
    their standard deviation. A subset has 1000 pictures, or half of the smaller set where that is less: with all of
    them the estimates would be one. ValueError for sets of fewer than 4.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    result = kid_features_to_metric(
        torch.from_numpy(first.astype(np.float64)),
        torch.from_numpy(second.astype(np.float64)),
        kid_subsets=SUBSETS,
        kid_subset_size=min(LARGEST_SUBSET, _smaller(first, second, 4) // 2),
        rng_seed=seed,
        verbose=False,
    )
    return float(result[KEY_METRIC_KID_MEAN]), float(result[KEY_METRIC_KID_STD])


def frechet_distance(first: Embeddings, second: Embeddings) -> float:
    """The squared Fréchet distance (Dowson & Landau 1982; Heusel et al. 2017) of the Gaussians with the sets' means
    and covariances: |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), with no shrinkage.

    tr (S1 S2)^(1/2) is the sum of the singular values of X1 X2^T / sqrt((n1 - 1)(n2 - 1)), where X are the centered
    embeddings: exact also for covariances without full rank, which the usual root of S1 S2 is not. The distance of
    small sets is too large, the more so the smaller they are: compare equal n only. ValueError for sets of one.
    """
    _smaller(first, second, 2)
    means = [values.mean(axis=0, dtype=np.float64) for values in (first, second)]
    roots = []
    traces = 0.0
    for values, mean in zip((first, second), means, strict=True):
        root = (values.astype(np.float64) - mean) / np.sqrt(len(values) - 1)
        traces += float(np.square(root).sum())
        # Of a tall matrix only the triangle matters: X^T X = R^T R.
        roots.append(np.linalg.qr(root).R if len(root) > root.shape[1] else root)
    shared = float(np.linalg.svdvals(roots[0] @ roots[1].T).sum())
    return max(0.0, float(np.square(means[0] - means[1]).sum()) + traces - 2 * shared)


def manifolds(pictures: Embeddings, reference: Embeddings) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), by name.

    - `precision`: share of the pictures that lie in a reference picture's neighborhood;
    - `recall`: share of the reference that lies in a picture's neighborhood;
    - `density`: in how many neighborhoods a picture lies, over 5; 1 for equal sets, may be above;
    - `coverage`: share of the reference with a picture in its neighborhood.

    All depend on how many pictures there are, so both sets are cut to the smaller one's number. Memory grows with 1024
    times that number. ValueError for sets of fewer than 6.
    """
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    count = _smaller(pictures, reference, LEAST)
    # Distances do not change when both are moved; products of smaller numbers lose fewer digits.
    center = reference[:count].mean(axis=0, dtype=np.float64)
    drawn, real = (torch.from_numpy((values[:count] - center).astype(np.float32)) for values in (pictures, reference))
    standard = prc_features_to_metric(
        drawn, real, prc_neighborhood=PRECISION_NEIGHBORS, prc_batch_size=_CHUNK, save_cpu_ram=True, verbose=False
    )
    radii = torch.cat([near.kthvalue(DENSITY_NEIGHBORS + 1, dim=1).values for near in _distances(real, real)])
    inside, nearest = 0, torch.full((count,), torch.inf)
    for near in _distances(drawn, real):
        inside += int((near <= radii).sum())
        nearest = torch.minimum(nearest, near.min(dim=0).values)
    return {
        "precision": float(standard[KEY_METRIC_PRECISION]),
        "recall": float(standard[KEY_METRIC_RECALL]),
        "density": inside / (DENSITY_NEIGHBORS * count),
        "coverage": float((nearest <= radii).double().mean()),
    }


def _distances(rows: Tensor, columns: Tensor) -> Iterator[Tensor]:
    """Euclidean distances, some rows at a time: [1024, n]."""
    return (torch.cdist(part, columns) for part in torch.split(rows, _CHUNK))


def cluster_diversity(pictures: Embeddings, reference: Embeddings, *, seed: int = 0) -> float:
    """How much pictures differ that are alike, over how much the reference's do; 1: as much, 0: each kind is one
    picture (after Ojha et al. 2021, section 4.1, who measure it without the comparison).

    The reference is parted into 10 clusters by k-means and each picture goes to the nearest; of a cluster the mean
    distance of its pairs counts, weighted by how much of the reference is in it. Clusters without two members on both
    sides count as nothing. nan where none has.
    """
    sets = [torch.from_numpy(values) for values in (pictures, reference)]
    centers = _k_means(sets[1], min(CLUSTERS, len(reference)), seed)
    labels = [torch.cdist(values, centers).argmin(dim=1) for values in sets]
    ratio = weight = 0.0
    for cluster in range(len(centers)):
        own, theirs = (values[label == cluster] for values, label in zip(sets, labels, strict=True))
        if min(len(own), len(theirs)) > 1 and (spread := _mean_distance(theirs[:MEMBERS])) > 0:
            share = len(theirs) / len(reference)
            ratio += share * _mean_distance(own[:MEMBERS]) / spread
            weight += share
    return ratio / weight if weight else math.nan


def _mean_distance(values: Tensor) -> float:
    """Of all pairs of different rows."""
    total = sum(float(part.double().sum()) for part in _distances(values, values))
    return total / (len(values) * (len(values) - 1))


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
