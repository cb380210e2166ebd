"""Nearest neighbors by brute force, a block of rows at a time, so that memory is bounded whatever the set's size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

_CELLS = 1 << 24  # distances held at a time


def nearest(vectors: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The `count` (or all) nearest other rows of each row of [n, d] by Euclidean distance: int64 [n, count]."""
    count = min(count, len(vectors) - 1)
    found = np.empty((len(vectors), max(count, 0)), np.int64)
    if count <= 0:
        return found
    for block, distances in _distances(vectors, vectors):
        distances[torch.arange(len(distances)), torch.arange(block.start, block.start + len(distances))] = torch.inf
        found[block] = distances.topk(count, dim=1, largest=False).indices.numpy()
    return found


def distance_to(vectors: NDArray[np.float32], others: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The distance of each row of [n, d] to its `count`th nearest of `others` [m, d], itself among them or not: [n]."""
    found = np.empty(len(vectors), np.float32)
    for block, distances in _distances(vectors, others):
        found[block] = distances.kthvalue(min(count, len(others)), dim=1).values.sqrt().numpy()
    return found


def _distances(vectors: NDArray[np.float32], others: NDArray[np.float32]) -> Iterator[tuple[slice, torch.Tensor]]:
    """Squared distances of blocks of rows to all of `others`."""
    fixed = torch.from_numpy(np.ascontiguousarray(others))
    lengths = (fixed**2).sum(dim=1)
    rows = max(1, _CELLS // len(others))
    for start in range(0, len(vectors), rows):
        part = torch.from_numpy(np.ascontiguousarray(vectors[start : start + rows]))
        squares = torch.addmm(lengths + (part**2).sum(dim=1, keepdim=True), part, fixed.T, alpha=-2)
        yield slice(start, start + rows), squares.clamp_min_(0)
