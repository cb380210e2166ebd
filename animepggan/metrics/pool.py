"""Real pictures to measure against: a corpus with its clusters, thumbnails and embeddings, each worked out once.

What costs minutes is kept in a cache, by the pixels that it was made from: embeddings, and clusters that no
corpus.jsonl gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from animepggan.corpus import Corpus
from animepggan.corpus.pyramid import halve
from animepggan.corpus.spec import Source, resolve
from animepggan.metrics.clusters import clusters_of
from animepggan.metrics.distances import Embeddings
from animepggan.metrics.likeness import Gallery, thumbnails

Bar = Callable[[str, int, int], object]
"""Called as bar(what is being done, done, total), often."""

_CHUNK = 256  # pictures
_EDITION = 1  # raised whenever the same pictures give other clusters


def silent(what: str, done: int, total: int) -> None:
    """The bar that shows nothing."""


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
    given: Sequence[int | None]  # clusters of a corpus.jsonl, a picture each; all None where there is none
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
        source = data if isinstance(data, Source) else resolve(data)
        corpus = Corpus.load(source, resolution=resolution, background=background, bar=bar, say=say)
        return cls.of(corpus, source, cache=cache, bar=bar)

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        source: Source,  # what it was loaded from
        *,
        resolution: int | None = None,  # None: the corpus' own
        cache: Path | None = None,
        bar: Bar = silent,
    ) -> Pool:
        """The pictures of a corpus that is open already, a run's perhaps."""
        known = {entry.name: entry.cluster for entry in source.entries if entry.cluster is not None}
        given = [known.get(name) for name in corpus.names]
        return cls(corpus, resolution or corpus.resolution, given, cache, bar)

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.given)

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
        """All pictures as `likeness` compares them: uint8 [n, 64, 64, 3]."""
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
        if any(cluster is not None for cluster in self.given):
            return clusters_of(self.gallery, self.given)
        done = 0

        def progress(more: int) -> None:
            nonlocal done
            done += more
            self.bar("find copies", done, len(self))

        key = _key(f"clusters {_EDITION}", self.thumbs)
        return remembered(self.cache, "clusters", key, lambda: clusters_of(self.gallery, progress=progress))

    def embeddings(self, indices: NDArray[np.int64], embedder: Embedder, batch_size: int) -> Embeddings:
        """Of pictures by their place in `names`: float32 [n, dimension]."""

        def make() -> Embeddings:
            return embed(lambda part: self.pictures(indices[part]), len(indices), embedder, batch_size, self.bar)

        digest = hashlib.sha256(f"{embedder.label}\n{self.resolution}\n".encode())
        for start in range(0, len(indices), _CHUNK):
            digest.update(self.pictures(indices[start : start + _CHUNK]).data)
        return remembered(self.cache, "embeddings", digest.hexdigest(), make)


def _key(purpose: str, values: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{purpose} {values.shape}\n".encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def remembered(cache: Path | None, kind: str, key: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """What `make` gives, from the cache where it has been made before; any file there may be deleted."""
    if cache is None:
        return make()
    path = cache / kind / f"{key[:32]}.safetensors"
    try:
        return load_file(path)["values"]
    except (OSError, SafetensorError, KeyError):  # not there, or damaged: made anew
        pass
    values = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{id(values):x}.partial")
    save_file({"values": np.ascontiguousarray(values)}, partial)
    partial.replace(path)
    return values
