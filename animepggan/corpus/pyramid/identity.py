"""What a corpus is known by: the names of its pictures, their pixels, and its clusters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from animepggan.corpus.decode import fingerprint
from animepggan.corpus.pyramid.clusters import Clusters
from animepggan.corpus.pyramid.levels import Pixels

_AT_ONCE = 256  # pictures whose digests are worked out


def identify(
    names: Sequence[str], take: Callable[[NDArray[np.int64]], Pixels], clusters: Clusters | None
) -> tuple[str, int]:
    """Fingerprint and number of distinct pictures, from the pixels that `take` gives for places in `names`."""
    digests = np.empty((len(names), 32), np.uint8)
    for start in range(0, len(names), _AT_ONCE):
        chosen = np.arange(start, min(start + _AT_ONCE, len(names)))
        for index, picture in zip(chosen, take(chosen), strict=True):
            digests[index] = np.frombuffer(digest_of(picture), np.uint8)
    return fingerprint_of(names, digests, clusters), count_distinct(digests, clusters)


def digest_of(picture: Pixels) -> bytes:
    """Of uint8 `[side, side, 3]`, colors first: corpora have been known by these since before there were pyramids."""
    return bytes.fromhex(fingerprint(picture.transpose(2, 0, 1)))


def fingerprint_of(names: Iterable[str], digests: NDArray[np.uint8], clusters: Clusters | None) -> str:
    """The sha256 of a corpus: its pictures' names and pixels, and its clusters where there are any."""
    whole = hashlib.sha256()
    for name, digest in zip(names, digests, strict=True):
        whole.update(name.encode("utf-8", "surrogatepass") + b"\0" + digest.tobytes().hex().encode())
    if clusters is not None:
        whole.update(clusters.described())
    return whole.hexdigest()


def count_distinct(digests: NDArray[np.uint8], clusters: Clusters | None) -> int:
    """How many different pictures there are; of a cluster, its first one counts."""
    firsts = digests if clusters is None else digests[clusters.first]
    return len(np.unique(np.ascontiguousarray(firsts).view("V32")))
