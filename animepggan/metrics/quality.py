"""How good a set of pictures is, against a reference that is made once and serves any number of sets.

    reference = make_reference(real, embedder=backbone, seed=0)
    measures, memorization = measure(pictures, reference, seed=0)

Nothing here draws or reads picture files: `evaluation` and `report.measures` do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animepggan.bar import Bar, silent
from animepggan.corpus.difference import difference
from animepggan.corpus.facts import thumbnails_of
from animepggan.corpus.likeness import LOWEST_LIMIT
from animepggan.corpus.names import printable
from animepggan.errors import DataError
from animepggan.metrics.embeddings import (
    LEAST,
    Embeddings,
    cluster_diversity,
    frechet_distance,
    kernel_distance,
    manifolds,
    require_fidelity,
)
from animepggan.metrics.memorization import CALIBRATION, Memorization, TrainingPictures
from animepggan.metrics.ms_ssim import ms_ssim
from animepggan.metrics.nearest import NearestIndex, memorization_thumbnails
from animepggan.metrics.pictures import Embedder, RealPictures, embed
from animepggan.metrics.sliced_wasserstein import LOWEST, Clouds, clouds, repeated_distances
from animepggan.metrics.split import held_out, one_of_each

MOST = 10_000
"""Reference pictures that are embedded, unless more samples are measured."""
_FEW = 50
"""Pictures below which the numbers say little."""
LARGEST_SWD = 2048  # pictures a set
SWD_BYTES = 1 << 30  # and of pixels
_CHUNK = 64  # pictures that are worked on at once
CLOSEST = 4  # training pictures among which that is looked for which a reference picture is a near copy of
OF_EMBEDDINGS = ("kid", "kid_std", "frechet", "precision", "recall", "density", "coverage", "cluster_diversity")


@dataclass(frozen=True)
class Measures:
    """One set of pictures in numbers. What could not be measured is None, and `notes` say why."""

    kid: float | None  # 0: the same distribution; not scaled
    kid_std: float | None
    frechet: float | None
    precision: float | None  # 0 to 1, as the next ones; 1 is best
    recall: float | None
    density: float | None  # 1 is the reference's own
    coverage: float | None
    cluster_diversity: float | None  # 1 is the reference's own
    swd: dict[str, float]  # times 1000, by the resolution of the level
    swd_std: float | None  # of the levels' mean, from one set of directions to another
    ms_ssim: float | None  # 0 to 1; 1: all pictures are the same
    ms_ssim_reference: float | None
    copied_share: float | None  # 0 to 1
    blend_share: float | None  # 0 to 1; at least the share that is copied
    nearest: float | None  # median distance to the nearest training picture, 0 (a copy) to 1
    nearest_new: float | None  # the same for new pictures
    features: str | None  # which backbone
    reference: str  # which pictures
    reference_n: int
    training: str | None  # of which training pictures copies were looked for
    training_n: int
    resolution: int  # pixels at which all was measured
    n: int
    seed: int
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For a file or a log: plain values, no nan."""
        return {**asdict(self), "notes": list(self.notes)}


@dataclass(frozen=True, eq=False)
class Reference:
    """Real pictures, ready to be compared with."""

    name: str
    pictures: NDArray[np.uint8]  # [k, r, r, 3], some of them, in random order
    ms_ssim: float | None  # their own; None: it is not measured
    n: int
    embeddings: Embeddings | None  # [n, dimension]
    embedder: Embedder | None
    training: TrainingPictures | None
    batch_size: int
    notes: tuple[str, ...] = ()
    _clouds: dict[tuple[int, int], Clouds] = field(default_factory=dict, repr=False)

    @property
    def resolution(self) -> int:
        """Pixels at which all is measured."""
        return int(self.pictures.shape[1])

    def clouds(self, count: int, seed: int) -> Clouds:
        """Patches of the first `count` pictures; those asked for last are kept."""
        if (count, seed) not in self._clouds:
            self._clouds.clear()
            self._clouds[count, seed] = _clouds(self.pictures[:count], 1, seed)
        return self._clouds[count, seed]


def make_reference(
    real: RealPictures,
    *,
    train: RealPictures | None = None,  # what the model was trained on; None: `real` (less what is held out)
    embedder: Embedder | None = None,  # None: only what needs no backbone
    hold_out: float | None = None,  # clusters of `real`, or below 1 a share of them: the reference, and not training
    memorization: bool = True,  # whether to look for copies of training pictures
    similarity: bool = True,  # whether to measure MS-SSIM, which takes a minute of a core at 256 px
    most: int = MOST,  # pictures of the reference
    seed: int = 0,
    batch_size: int = 32,  # pictures that are embedded at once
) -> Reference:
    """Choose the reference: a picture of each cluster of `real`, none of them a copy of a training picture.

    Where `real` is what was trained on and nothing is held out, the reference is the training pictures themselves, and
    what new pictures are like is learned from each of some of them against all but its own cluster.

    Raises DataError where too little is left, ModelError without torch-fidelity.
    """
    if embedder is not None:
        require_fidelity()
    spec = real.corpus.spec
    if len(real) < 2:
        raise DataError(f"{printable(spec)}: {len(real)} picture is too few to measure against")
    notes: list[str] = []
    own = train is None or train.corpus.fingerprint == real.corpus.fingerprint
    out = held_out(real.clusters, real.names, hold_out, seed) if hold_out is not None else None
    order = one_of_each(real.clusters, real.names, seed)
    if out is not None:
        order = order[out[order]]
    training = None
    if memorization:
        trained = real if train is None or own else train
        indices = np.flatnonzero(~out) if own and out is not None else np.arange(len(trained))
        index = NearestIndex(trained.thumbs[indices])
        if not own or out is not None:
            training, order = _against_new(real, order, trained, index, indices, notes)
        if training is None:
            training = _against_itself(trained, index, indices, seed, notes)
    order = order[:most]
    if len(order) < 2:
        raise DataError(f"{printable(spec)}: {len(order)} picture is left of it: too few to measure against")
    if len(order) < _FEW:
        notes.append(f"the reference has {len(order)} pictures: below {_FEW} the numbers say little")
    kept = min(len(order), LARGEST_SWD, max(2, SWD_BYTES // (3 * real.resolution**2)))
    name = f"{spec}: {len(order)} pictures, one a cluster"
    if out is not None:
        name += f", {int(out.sum())} held out with seed {seed}"
    pictures = real.pictures(order[:kept])
    return Reference(
        name=name,
        pictures=pictures,
        ms_ssim=ms_ssim(pictures, seed=seed) if similarity else None,
        n=len(order),
        embeddings=None if embedder is None else real.embeddings(order, embedder, batch_size),
        embedder=embedder,
        training=training,
        batch_size=batch_size,
        notes=tuple(notes),
    )


def _against_new(
    real: RealPictures,
    order: NDArray[np.int64],  # of the pictures in `real` that may be the reference
    trained: RealPictures,
    index: NearestIndex,  # of the training pictures
    indices: NDArray[np.int64],  # of these in `trained`
    notes: list[str],  # added to
) -> tuple[TrainingPictures | None, NDArray[np.int64]]:
    """How near the reference comes to the training pictures, and `order` without copies of these; None where hardly
    any is left.
    """
    new = index.find(real.thumbs[order])
    left = order[~_near_copies(real, order, trained, indices[new.neighbors[:, :CLOSEST]])]
    if len(left) < 2:
        notes.append("every reference picture is a copy of a training picture: measured against the training set")
        return None, order
    if len(left) < len(order):
        notes.append(
            f"{len(order) - len(left)} of {len(order)} reference pictures are left out: "
            "copies or near copies of training pictures"
        )
    training = TrainingPictures(index, trained, indices, new, left_out=True)
    if training.count < _FEW:
        notes.append(f"copies are told by {training.count} new pictures: below {_FEW} the shares are rough")
    return training, left


def _against_itself(
    trained: RealPictures, index: NearestIndex, indices: NDArray[np.int64], seed: int, notes: list[str]
) -> TrainingPictures:
    """How near some training pictures come to those of other clusters."""
    clusters = trained.clusters[indices]
    asked = one_of_each(clusters, [trained.names[place] for place in indices], seed)[:CALIBRATION]
    new = index.find(index.thumbs[asked], groups=(clusters[asked], clusters))
    training = TrainingPictures(index, trained, indices, new, left_out=False)
    if training.count < _FEW:
        notes.append(f"copies are told by {training.count} clusters: below {_FEW} the shares are rough")
    return training


def _near_copies(
    real: RealPictures, order: NDArray[np.int64], trained: RealPictures, nearest: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which of the pictures `order` [n] of `real` are copies or near copies of training pictures, `nearest` [n, k]."""
    found = np.empty(len(order), np.bool_)
    for start in range(0, len(order), _CHUNK):
        part = slice(start, start + _CHUNK)
        count, k = nearest[part].shape
        both = [real.pictures(order[part]), trained.pictures(nearest[part].ravel())]
        pairs = np.stack([np.repeat(np.arange(count), k), count + np.arange(count * k)], axis=1)
        apart = difference(np.concatenate([thumbnails_of(pictures) for pictures in both]), pairs)
        found[part] = (apart <= LOWEST_LIMIT).reshape(count, k).any(axis=1)
    return found


def measure(
    pictures: NDArray[np.uint8],  # [n, r, r, 3], r the reference's; may be mapped from a file
    reference: Reference,
    *,
    seed: int = 0,
    bar: Bar = silent,
) -> tuple[Measures, Memorization | None]:
    """The measures of a set of pictures, and what each is nearest to where copies are looked for.

    ValueError where the set is empty or of another resolution than the reference.
    """
    count, side = pictures.shape[:2]
    if not count or pictures.shape[1:] != reference.pictures.shape[1:] or pictures.dtype != np.uint8:
        raise ValueError(f"uint8 pictures of {reference.resolution} px wanted, not {pictures.dtype} {pictures.shape}")
    notes = list(reference.notes)
    if count < _FEW:
        notes.append(f"{count} pictures: below {_FEW} the numbers say little")
    measures: dict[str, float | None] = dict.fromkeys(OF_EMBEDDINGS)
    # Any part of a set has to be as good a sample as any other.
    order = np.random.default_rng(seed).permutation(count)
    if reference.embedder is not None and reference.embeddings is not None:
        if min(count, reference.n) < LEAST:
            notes.append(f"measures of embeddings need {LEAST} pictures on both sides")
        else:
            found = embed(lambda part: pictures[part], count, reference.embedder, reference.batch_size, bar)[order]
            measures = _of_embeddings(found, reference.embeddings, seed, notes)
    few = min(count, len(reference.pictures))
    part = pictures[np.sort(order[:few])]
    swd: dict[int, list[float]] = {}
    if side >= LOWEST and side & (side - 1) == 0:
        bar("patches", 0, 1)
        swd = repeated_distances(_clouds(part, 0, seed), reference.clouds(few, seed), seed=seed)
    bar("memorization", 0, 1)
    training = reference.training
    memorization = training.judge(memorization_thumbnails(pictures)) if training else None
    return Measures(
        **measures,
        swd={str(resolution): float(np.mean(each)) for resolution, each in swd.items()},
        swd_std=float(np.mean(list(swd.values()), axis=0).std()) if swd else None,
        ms_ssim=ms_ssim(part, seed=seed) if few > 1 and reference.ms_ssim is not None else None,
        ms_ssim_reference=reference.ms_ssim,
        copied_share=float(memorization.copied.mean()) if memorization else None,
        blend_share=float(memorization.blended.mean()) if memorization else None,
        nearest=float(np.median(memorization.matches.distances[:, 0])) if memorization else None,
        nearest_new=training.distance if training else None,
        features=reference.embedder.label if reference.embedder else None,
        reference=reference.name,
        reference_n=reference.n,
        training=training.pictures.corpus.spec if training else None,
        training_n=len(training.indices) if training else 0,
        resolution=reference.resolution,
        n=count,
        seed=seed,
        notes=tuple(notes),
    ), memorization


def _of_embeddings(found: Embeddings, real: Embeddings, seed: int, notes: list[str]) -> dict[str, float | None]:
    if min(len(found), len(real)) <= real.shape[1]:
        notes.append(
            f"the Fréchet distance of {len(found)} and {len(real)} pictures in {real.shape[1]} dimensions "
            "is too large, as that of any set so small: compare it at equal n only"
        )
    kid, kid_std = kernel_distance(found, real, seed=seed)
    spread = cluster_diversity(found, real, seed=seed)
    return {
        "kid": kid,
        "kid_std": kid_std,
        "frechet": frechet_distance(found, real),
        **manifolds(found, real),
        "cluster_diversity": None if math.isnan(spread) else spread,
    }


def _clouds(pictures: NDArray[np.uint8], which: int, seed: int) -> Clouds:
    def chunks() -> Iterator[Tensor]:
        for start in range(0, len(pictures), _CHUNK):
            values = torch.from_numpy(np.array(pictures[start : start + _CHUNK]))
            yield values.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)

    return clouds(chunks(), len(pictures), pictures.shape[1], which=which, seed=seed)
