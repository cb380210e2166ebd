"""Distances between two clouds of embeddings: the kernel distance and the Fréchet distance."""

from __future__ import annotations

import importlib.util

import numpy as np
from numpy.typing import NDArray

from animepggan.errors import ModelError

Embeddings = NDArray[np.float32]
"""[n, dimension]."""

SUBSETS = 100
LARGEST_SUBSET = 1000  # pictures


def require_fidelity() -> None:
    """Raise ModelError where torch-fidelity is not installed: better before the pictures are drawn than after."""
    if importlib.util.find_spec("torch_fidelity") is None:
        raise ModelError(
            "measures of embeddings need torch-fidelity\ninstall it with `pip install animepggan[measure]`, "
            "or leave them out: --backbone none"
        )


def kernel_distance(first: Embeddings, second: Embeddings, *, seed: int = 0) -> tuple[float, float]:
    """KID (Binkowski et al. 2018, section 4): the squared maximum mean discrepancy with the kernel (x.y / d + 1)^3.

    The mean of 100 unbiased estimates from random subsets, so it may be a little below 0 for equal distributions, and
    their standard deviation. A subset has 1000 pictures, or half of the smaller set where that is less: with all of
    them the estimates would be one. ValueError for sets of fewer than 4.
    """
    from torch import from_numpy
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    size = min(LARGEST_SUBSET, min(len(first), len(second)) // 2)
    if size < 2:
        raise ValueError(f"sets of {len(first)} and {len(second)} are too small")
    result = kid_features_to_metric(
        from_numpy(first.astype(np.float64)),
        from_numpy(second.astype(np.float64)),
        kid_subsets=SUBSETS,
        kid_subset_size=size,
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
    if min(len(first), len(second)) < 2:
        raise ValueError(f"sets of {len(first)} and {len(second)} are too small")
    means = [values.mean(axis=0, dtype=np.float64) for values in (first, second)]
    roots: list[NDArray[np.float64]] = []
    traces = 0.0
    for values, mean in zip((first, second), means, strict=True):
        root = (values.astype(np.float64) - mean) / np.sqrt(len(values) - 1)
        traces += float(np.square(root).sum())
        # Of a tall matrix only the triangle matters: X^T X = R^T R.
        if len(root) > root.shape[1]:
            root = np.linalg.qr(root).R
        roots.append(root)
    product: NDArray[np.float64] = roots[0] @ roots[1].T
    shared = float(np.linalg.svdvals(product).sum())
    return max(0.0, float(np.square(means[0] - means[1]).sum()) + traces - 2 * shared)
