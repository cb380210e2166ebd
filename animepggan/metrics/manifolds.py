"""Whether pictures lie where the reference does, and whether they fill it: four measures from nearest neighbors.

All of them depend on how many pictures there are, so both sets are cut to the smaller one's number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from animepggan.metrics.distances import Embeddings

PRECISION_NEIGHBORS = 3  # Kynkäänniemi et al. 2019, section 3
DENSITY_NEIGHBORS = 5  # Naeem et al. 2020, section 4
LEAST = DENSITY_NEIGHBORS + 1  # pictures a set
_CHUNK = 1024  # pictures of one set whose distances to all of the other are held at once


@dataclass(frozen=True)
class Manifolds:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020)."""

    precision: float  # share of the pictures that lie in a reference picture's neighborhood
    recall: float  # share of the reference that lies in a picture's neighborhood
    density: float  # in how many neighborhoods a picture lies, over 5; 1 for equal sets, may be above
    coverage: float  # share of the reference with a picture in its neighborhood


def manifolds(pictures: Embeddings, reference: Embeddings) -> Manifolds:
    """The four measures. Memory grows with 1024 times the number of pictures. ValueError for sets of fewer than 6."""
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    count = min(len(pictures), len(reference))
    if count < LEAST:
        raise ValueError(f"sets of {len(pictures)} and {len(reference)} are too small")
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
    return Manifolds(
        precision=float(standard[KEY_METRIC_PRECISION]),
        recall=float(standard[KEY_METRIC_RECALL]),
        density=inside / (DENSITY_NEIGHBORS * count),
        coverage=float((nearest <= radii).double().mean()),
    )


def _distances(rows: Tensor, columns: Tensor) -> Iterator[Tensor]:
    """Euclidean distances, some rows at a time: [1024, n]."""
    return (torch.cdist(part, columns) for part in torch.split(rows, _CHUNK))
