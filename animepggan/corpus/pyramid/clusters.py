"""Copies and near copies as one: an epoch shows each cluster once, by one of its members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Clusters:
    """Which pictures form which cluster, in arrays. Clusters are in the order of their first pictures."""

    def __init__(self, members: NDArray[Any], starts: NDArray[Any], shares: NDArray[Any]) -> None:
        self.members = members  # uint32 [pictures]: cluster after cluster
        self.starts = starts  # uint32 [clusters + 1]: where each begins in `members`
        self.shares = shares  # float64 [pictures]: the number of its cluster plus the share of weight up to and with it

    @classmethod
    def of(cls, labels: Sequence[int | None], weights: Sequence[float]) -> Clusters | None:
        """Group pictures by label; None where each is a cluster of its own."""
        numbers: dict[int, int] = {}
        place = np.empty(len(labels), np.int64)
        count = 0
        for index, label in enumerate(labels):
            known = numbers.get(label) if label is not None else None
            if known is None:
                known = count
                count += 1
                if label is not None:
                    numbers[label] = known
            place[index] = known
        if count == len(labels):
            return None
        members = np.argsort(place, kind="stable")
        cluster = place[members]
        starts = np.searchsorted(cluster, np.arange(count + 1))
        weight = np.asarray(weights, np.float64)[members]
        weight /= np.maximum.reduceat(weight, starts[:-1])[cluster]  # before adding up: they may be near the largest
        total = np.cumsum(weight)
        before = np.concatenate([[0.0], total])[starts]
        shares = cluster + (total - before[cluster]) / (before[1:] - before[:-1])[cluster]
        return cls(members.astype(np.uint32), starts.astype(np.uint32), shares)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def first(self) -> NDArray[Any]:
        """The first picture of each cluster."""
        picked: NDArray[Any] = self.members[self.starts[:-1]]
        return picked

    @property
    def labels(self) -> NDArray[np.int64]:
        """The number of each picture's cluster."""
        labels = np.empty(len(self.members), np.int64)
        labels[self.members] = np.repeat(np.arange(len(self)), np.diff(self.starts))
        return labels

    def among(self, chosen: NDArray[np.int64]) -> Clusters | None:
        """What is left of them in a part of their pictures."""
        before = np.concatenate([[0.0], self.shares[:-1]])
        before[self.starts[:-1]] = np.arange(len(self))
        weights = np.empty(len(self.members))
        weights[self.members] = self.shares - before
        return Clusters.of(self.labels[chosen].tolist(), weights[chosen].tolist())

    def pick(self, clusters: NDArray[Any], draws: NDArray[Any]) -> NDArray[Any]:
        """A member of each of these clusters, by weight; `draws` are uniform in [0, 1)."""
        found = np.searchsorted(self.shares, clusters + draws.astype(np.float64), side="right")
        inside = np.clip(found, self.starts[clusters], self.starts[clusters.astype(np.int64) + 1] - 1)
        picked: NDArray[Any] = self.members[inside]
        return picked

    def described(self) -> bytes:
        """All that a run sees of them, for a fingerprint."""
        return self.members.astype("<u4").tobytes() + self.starts.astype("<u4").tobytes() + self.shares.tobytes()
