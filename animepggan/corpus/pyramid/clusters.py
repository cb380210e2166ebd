"""Copies and near copies as one (an epoch shows each cluster once, by one of its members), and fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animepggan.corpus.decode import fingerprint


class ClusterTable:
    """Which pictures form which cluster, in arrays. Clusters are in the order of their first pictures."""

    def __init__(self, members: NDArray[Any], starts: NDArray[Any], shares: NDArray[Any]) -> None:
        self.members = members  # uint32 [pictures]: cluster after cluster
        self.starts = starts  # uint32 [clusters + 1]: where each begins in `members`
        self.shares = shares  # float64 [pictures]: the number of its cluster plus the share of weight up to and with it

    @classmethod
    def of(cls, labels: Sequence[int | None], weights: Sequence[float]) -> ClusterTable | None:
        """Group pictures by label, 0 or above (None: a cluster of its own); None where no two share one."""
        numbers: dict[int, int] = {}
        each = (-1 - place if label is None else label for place, label in enumerate(labels))
        number = np.array([numbers.setdefault(label, len(numbers)) for label in each], np.int64)
        if len(numbers) == len(labels):
            return None
        members = np.argsort(number, kind="stable")
        cluster = number[members]
        starts = np.searchsorted(cluster, np.arange(len(numbers) + 1))
        weight = np.asarray(weights, np.float64)[members]
        weight /= np.maximum.reduceat(weight, starts[:-1])[cluster]  # before adding up: they may be near the largest
        total = np.cumsum(weight)
        before = np.concatenate([[0.0], total])[starts]
        shares = cluster + (total - before[cluster]) / (before[1:] - before[:-1])[cluster]
        return cls(members.astype(np.uint32), starts.astype(np.uint32), shares)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def labels(self) -> NDArray[np.int64]:
        """The number of each picture's cluster."""
        labels = np.empty(len(self.members), np.int64)
        labels[self.members] = np.repeat(np.arange(len(self)), np.diff(self.starts))
        return labels

    def among(self, chosen: NDArray[np.int64]) -> ClusterTable | None:
        """What is left of them in a part of their pictures."""
        before = np.concatenate([[0.0], self.shares[:-1]])
        before[self.starts[:-1]] = np.arange(len(self))
        weights = np.empty(len(self.members))
        weights[self.members] = self.shares - before
        return ClusterTable.of(self.labels[chosen].tolist(), weights[chosen].tolist())

    def pick(self, clusters: NDArray[Any], draws: NDArray[Any]) -> NDArray[Any]:
        """A member of each of these clusters, by weight; `draws` are uniform in [0, 1)."""
        found = np.searchsorted(self.shares, clusters + draws.astype(np.float64), side="right")
        inside = np.clip(found, self.starts[clusters], self.starts[clusters.astype(np.int64) + 1] - 1)
        picked: NDArray[Any] = self.members[inside]
        return picked


def digest_of(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The sha256 of a picture `[side, side, 3]`, uint8 [32]; colors first: so corpora have always been known."""
    return np.frombuffer(bytes.fromhex(fingerprint(picture.transpose(2, 0, 1))), np.uint8)


def identify(names: Iterable[str], digests: NDArray[np.uint8], clusters: ClusterTable | None) -> tuple[str, int]:
    """A corpus' fingerprint, and how many different pictures it has; of a cluster, its first one counts."""
    whole = hashlib.sha256()
    for name, digest in zip(names, digests, strict=True):
        whole.update(name.encode("utf-8", "surrogatepass") + b"\0" + digest.tobytes().hex().encode())
    if clusters is not None:
        for array, dtype in ((clusters.members, "<u4"), (clusters.starts, "<u4"), (clusters.shares, "<f8")):
            whole.update(array.astype(dtype).tobytes())
        digests = digests[clusters.members[clusters.starts[:-1]]]
    return whole.hexdigest(), len(np.unique(np.ascontiguousarray(digests).view("V32")))
