"""Real pictures as measures need them: small, as embeddings, in clusters; and room for drawn ones."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from animepggan.bar import Bar, Say, silent, unheard
from animepggan.corpus import Corpus
from animepggan.corpus.likeness import clusters_in, remembered
from animepggan.corpus.pyramid import halve
from animepggan.corpus.spec import Source
from animepggan.metrics.embeddings import Embeddings
from animepggan.metrics.nearest import chunks, memorization_thumbnails

IN_MEMORY = 1 << 30  # bytes


class Embedder(Protocol):
    """A `features.Backbone`, as far as it is needed here."""

    @property
    def label(self) -> str:
        """Names the network, its weights and what it sees."""

    def embed(self, pictures: NDArray[np.uint8], *, batch_size: int = 32) -> Embeddings:
        """uint8 [n, h, w, 3] to float32 [n, dimension]."""


def embed(
    pictures: Callable[[slice], NDArray[np.uint8]], count: int, embedder: Embedder, batch_size: int, bar: Bar = silent
) -> Embeddings:
    """The embeddings of `count` pictures that are read some at a time: float32 [count, dimension]."""
    parts = []
    for part in chunks(count):
        parts.append(embedder.embed(pictures(part), batch_size=batch_size))
        bar("embed", part.stop, count)
    return np.concatenate(parts)


def room(count: int, resolution: int) -> NDArray[np.uint8]:
    """Room for pictures: uint8 [count, resolution, resolution, 3], in memory up to a gigabyte, else mapped from a file
    that is gone with it. Raises OSError where the disk is too small.
    """
    shape = (count, resolution, resolution, 3)
    size = count * resolution * resolution * 3
    if size <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile(prefix="animepggan-") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error now, not a crash later
        else:
            file.truncate(size)
        return np.memmap(file, np.uint8, "r+", shape=shape)


@dataclass(frozen=True)
class RealPictures:
    """The pictures of a corpus at one resolution."""

    corpus: Corpus
    resolution: int  # pixels, at most the corpus' own
    labels: NDArray[np.int64] | None = None  # clusters, a picture each; None: `likeness.clusters_in`
    cache: Path | None = None  # folder; None: nothing is kept
    bar: Bar = silent

    @classmethod
    def load(
        cls,
        data: str | Path | Source,
        *,
        resolution: int,  # pixels
        background: str = "#ffffff",  # under transparent pictures
        cache: Path | None = None,
        bar: Bar = silent,
        say: Say = unheard,
    ) -> RealPictures:
        """Open a SPEC's pictures, decoded at `resolution`. Raises what `Corpus.load` raises."""
        corpus = Corpus.load(data, resolution=resolution, background=background, bar=bar, say=say)
        return cls(corpus, resolution, None, cache, bar)

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.names)

    @property
    def names(self) -> Sequence[str]:
        """Of the pictures; they are asked for by their place among them."""
        return self.corpus.names

    def pictures(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 [n, resolution, resolution, 3]."""
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
        for part in chunks(len(self)):
            parts.append(memorization_thumbnails(self.pictures(np.arange(part.start, part.stop))))
            self.bar("look through", part.stop, len(self))
        return np.concatenate(parts)

    @cached_property
    def clusters(self) -> NDArray[np.int64]:
        """A number for each picture, the same for copies and near copies: int64 [n]."""
        return clusters_in(self.corpus, cache=self.cache, bar=self.bar) if self.labels is None else self.labels

    def embeddings(self, indices: NDArray[np.int64], embedder: Embedder, batch_size: int) -> Embeddings:
        """float32 [n, dimension], from the cache where they are."""
        digest = hashlib.sha256(f"{embedder.label}\n{self.resolution}\n".encode())
        for part in chunks(len(indices)):
            digest.update(self.pictures(indices[part]).data)
        return remembered(
            self.cache,
            "embeddings",
            digest.hexdigest(),
            lambda: embed(lambda part: self.pictures(indices[part]), len(indices), embedder, batch_size, self.bar),
        )
