"""What a corpus is known by: the names of its pictures, their pixels, and its clusters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from animepggan.corpus.decode import fingerprint
from animepggan.corpus.pyramid.clusters import Clusters

_AT_ONCE = 256  # pictures


def digest_of(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The sha256 of a picture `[side, side, 3]`, uint8 [32]; colors first: so corpora have always been known."""
    return np.frombuffer(bytes.fromhex(fingerprint(picture.transpose(2, 0, 1))), np.uint8)


def digests_of(count: int, take: Callable[[NDArray[np.int64]], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The digests of the pictures that `take` gives for the places up to `count`: uint8 [count, 32]."""
    digests = np.empty((count, 32), np.uint8)
    for start in range(0, count, _AT_ONCE):
        for place, picture in enumerate(take(np.arange(start, min(start + _AT_ONCE, count))), start):
            digests[place] = digest_of(picture)
    return digests


def identify(names: Iterable[str], digests: NDArray[np.uint8], clusters: Clusters | None) -> tuple[str, int]:
    """A corpus' fingerprint, and how many different pictures it has; of a cluster, its first one counts."""
    whole = hashlib.sha256()
    for name, digest in zip(names, digests, strict=True):
        whole.update(name.encode("utf-8", "surrogatepass") + b"\0" + digest.tobytes().hex().encode())
    if clusters is not None:
        whole.update(clusters.described())
        digests = digests[clusters.first]
    return whole.hexdigest(), len(np.unique(np.ascontiguousarray(digests).view("V32")))
