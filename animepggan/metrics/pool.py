"""Real pictures to measure against: a corpus with its clusters, thumbnails and embeddings, each worked out once.

What costs minutes is kept in a cache: embeddings, and clusters that no corpus.jsonl gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from animepggan.bar import Bar, silent
from animepggan.corpus import Corpus
from animepggan.corpus.likeness import clusters_in, remembered
from animepggan.corpus.pyramid import halve
from animepggan.corpus.spec import Source
from animepggan.metrics.distances import Embeddings
from animepggan.metrics.nearest import Gallery, thumbnails

_CHUNK = 256  # pictures


class Embedder(Protocol):
    """A `features.Backbone`, as far as it is needed here."""

    @property
    def label(self) -> str:
        """Names the network, its weights and what it sees."""

    def embed(self, pictures: NDArray[np.uint8], *, batch_size: int = 32) -> Embeddings:
        """uint8 [n, h, w, 3] to float32 [n, dimension]."""


def embed(
    pictures: Callable[[slice], NDArray[np.uint8]],
    count: int,
    embedder: Embedder,
    batch_size: int,
    bar: Bar = silent,
) -> Embeddings:
    """The embeddings of `count` pictures that are read some at a time: float32 [count, dimension]."""
    parts = []
    for start in range(0, count, _CHUNK):
        parts.append(embedder.embed(pictures(slice(start, start + _CHUNK)), batch_size=batch_size))
        bar("embed", min(start + _CHUNK, count), count)
    return np.concatenate(parts)


@dataclass(frozen=True)
class Pool:
    """The pictures of a corpus at one resolution."""

    corpus: Corpus
    resolution: int  # pixels, at most the corpus' own
    labels: Sequence[int] | NDArray[np.int64] | None = None  # clusters, a picture each; None: `likeness.clusters_in`
    cache: Path | None = None  # folder; None: nothing is kept
    bar: Bar = silent

    @classmethod
    def load(
        cls,
        data: str | Source,
        *,
        resolution: int,  # pixels
        background: str = "#ffffff",  # under transparent pictures
        cache: Path | None = None,
        bar: Bar = silent,
        say: Callable[[str], object] = lambda text: None,
    ) -> Pool:
        """Open a SPEC's pictures, decoded at `resolution`. Raises what `Corpus.load` raises."""
        corpus = Corpus.load(data, resolution=resolution, background=background, bar=bar, say=say)
        return cls(corpus, resolution, None, cache, bar)

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.names)

    @property
    def spec(self) -> str:
        return self.corpus.spec

    @property
    def names(self) -> Sequence[str]:
        return self.corpus.names

    def pictures(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pictures by their place in `names`: uint8 [n, resolution, resolution, 3]."""
        shift = self.corpus.random_shift
        if not shift:
            return self.corpus.pictures(indices, resolution=self.resolution)
        start, end = shift // 2, shift // 2 + self.corpus.resolution
        pictures = self.corpus.pictures(indices)[:, start:end, start:end]
        while pictures.shape[1] > self.resolution:
            pictures = halve(pictures)
        return pictures

    @cached_property
    def thumbs(self) -> NDArray[np.uint8]:
        """All pictures as `nearest` compares them: uint8 [n, 64, 64, 3]."""
        parts = []
        for start in range(0, len(self), _CHUNK):
            indices = np.arange(start, min(start + _CHUNK, len(self)))
            parts.append(thumbnails(self.pictures(indices)))
            self.bar("look through", start + len(indices), len(self))
        return np.concatenate(parts)

    @cached_property
    def gallery(self) -> Gallery:
        """All pictures, to find like ones among."""
        return Gallery(self.thumbs)

    @cached_property
    def clusters(self) -> NDArray[np.int64]:
        """A number for each picture, the same for copies and near copies: int64 [n]."""
        if self.labels is not None:
            return np.asarray(self.labels, np.int64)
        return clusters_in(self.corpus, cache=self.cache, bar=self.bar)

    def embeddings(self, indices: NDArray[np.int64], embedder: Embedder, batch_size: int) -> Embeddings:
        """Of pictures by their place in `names`: float32 [n, dimension]."""

        def make() -> Embeddings:
            return embed(lambda part: self.pictures(indices[part]), len(indices), embedder, batch_size, self.bar)

        digest = hashlib.sha256(f"{embedder.label}\n{self.resolution}\n".encode())
        for start in range(0, len(indices), _CHUNK):
            digest.update(self.pictures(indices[start : start + _CHUNK]).data)
        return remembered(self.cache, "embeddings", digest.hexdigest(), make)
