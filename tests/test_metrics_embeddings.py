"""Distances and manifolds of embeddings: right by a direct formula, and moving the way that they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from animepggan.metrics.embeddings import cluster_diversity, frechet_distance, kernel_distance, manifolds

Cloud = NDArray[np.float32]


def cloud(seed: int, count: int = 300, dimension: int = 24) -> Cloud:
    """Two blobs, of which one holds a third."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, dimension))
    values[::3, :4] += 4
    return values.astype(np.float32)


def direct_kid(first: Cloud, second: Cloud) -> float:
    """The unbiased estimate, sum by sum, from all pictures."""

    def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    one, two = first.astype(np.float64), second.astype(np.float64)
    m, n = len(one), len(two)
    within = sum(kernel(x, y) for i, x in enumerate(one) for j, y in enumerate(one) if i != j) / (m * (m - 1))
    within += sum(kernel(x, y) for i, x in enumerate(two) for j, y in enumerate(two) if i != j) / (n * (n - 1))
    return within - 2 * sum(kernel(x, y) for x in one for y in two) / (m * n)


def test_kid_is_the_unbiased_estimate() -> None:
    first, second = cloud(0, 60) * 0.3, cloud(1, 60) * 0.3 + 0.6
    kid, deviation = kernel_distance(first, second)
    # A mean over 100 subsets estimates the same, within its own deviation.
    assert kid == pytest.approx(direct_kid(first, second), abs=4 * deviation / math.sqrt(100))
    assert kid > deviation > 0
    assert kernel_distance(first, second) == (kid, deviation)
    assert kernel_distance(first, second, seed=1) != (kid, deviation)


def test_kid_of_halves_is_nothing_and_rises_with_what_is_wrong() -> None:
    real, other = cloud(0), cloud(1)
    half, deviation = kernel_distance(real, other)
    assert abs(half) < deviation
    noise = np.random.default_rng(2).normal(size=other.shape).astype(np.float32)
    noisy = [kernel_distance(real, other + strength * noise)[0] for strength in (0, 0.5, 1, 2)]
    assert noisy == sorted(noisy)
    assert noisy[2] > half + 2 * deviation
    lost = [
        kernel_distance(real, np.delete(other, np.arange(0, 300, 3)[:gone], axis=0))[0] for gone in (0, 40, 80, 100)
    ]
    assert lost == sorted(lost)
    assert lost[-1] > 2 * deviation


def test_the_frechet_distance_of_known_gaussians() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(4000, 3))
    values = (values - values.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(values, rowvar=False))).T
    first = values.astype(np.float32)  # mean 0, covariance 1
    second = (values * [2.0, 3.0, 1.0] + [0.0, 0.0, 5.0]).astype(np.float32)
    # Diagonal covariances: |m1 - m2|^2 and the squared differences of the deviations.
    assert frechet_distance(first, second) == pytest.approx(25 + 1 + 4 + 0, rel=1e-5)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("counts", "tolerance"), [((200, 150), 1e-6), ((15, 20), 1e-6), ((15, 200), 1e-6)])
def test_the_frechet_distance_is_that_of_the_root_also_without_full_rank(
    counts: tuple[int, int], tolerance: float
) -> None:
    first, second = cloud(0, counts[0]).astype(np.float64), cloud(1, counts[1]).astype(np.float64) * 1.3
    s1, s2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    lengths, axes = np.linalg.eigh(s1)
    root = axes * np.sqrt(lengths.clip(0)) @ axes.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ s2 @ root).clip(0)).sum()  # tr (S1 S2)^(1/2), symmetrically
    direct = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(s1 + s2) - 2 * shared
    found = frechet_distance(first.astype(np.float32), second.astype(np.float32))
    assert found == pytest.approx(direct, rel=tolerance)


def test_manifolds_agree_with_their_definitions() -> None:
    drawn, real = cloud(0, 40), cloud(1, 40) + 0.5

    def far(one: Cloud, two: Cloud) -> NDArray[np.float64]:
        difference: NDArray[np.float64] = one[:, None].astype(np.float64) - two[None]
        return np.sqrt(np.square(difference).sum(axis=2))

    def radius(values: Cloud, k: int) -> NDArray[np.float64]:
        ordered: NDArray[np.float64] = np.sort(far(values, values), axis=1)
        return ordered[:, k]  # place 0 is the picture itself

    across = far(drawn, real)
    found = manifolds(drawn, real)
    assert found["precision"] == pytest.approx((across <= radius(real, 3)).any(axis=1).mean())
    assert found["recall"] == pytest.approx((across <= radius(drawn, 3)[:, None]).any(axis=0).mean())
    assert found["density"] == pytest.approx((across <= radius(real, 5)).sum() / (5 * 40))
    assert found["coverage"] == pytest.approx((across.min(axis=0) <= radius(real, 5)).mean())
    assert 0.2 < found["coverage"] < 1


def test_noise_costs_precision_and_lost_modes_cost_recall() -> None:
    real, other = cloud(0), cloud(1)
    good = manifolds(other, real)
    noise = np.random.default_rng(2).normal(size=other.shape).astype(np.float32)
    noisy = manifolds(other + 2 * noise, real)
    lost = manifolds(np.delete(other, np.arange(0, 300, 3), axis=0), real)
    assert noisy["precision"] < good["precision"] - 0.3
    assert lost["precision"] > good["precision"] - 0.1
    assert lost["recall"] < good["recall"] - 0.2
    assert lost["coverage"] < good["coverage"] - 0.2
    one = manifolds(np.repeat(other[:1], 300, axis=0), real)
    assert one["coverage"] < 0.2
    assert one["recall"] < 0.1


def test_sets_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        kernel_distance(cloud(0, 3), cloud(1))
    with pytest.raises(ValueError, match="too small"):
        frechet_distance(cloud(0, 1), cloud(1))
    with pytest.raises(ValueError, match="too small"):
        manifolds(cloud(0, 5), cloud(1))


def test_diversity_inside_clusters() -> None:
    real = cloud(0)
    assert cluster_diversity(cloud(1), real) == pytest.approx(1, abs=0.05)
    centers = np.repeat(cloud(1, 6), 50, axis=0)  # six pictures, fifty times each
    tight = centers + 0.01 * np.random.default_rng(0).normal(size=centers.shape).astype(np.float32)
    assert cluster_diversity(tight.astype(np.float32), real) < 0.3
