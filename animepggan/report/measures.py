"""Measures as training goes: how good the averaged generator's pictures are, and which moment's are the best so far.

They are measured against pictures that were held out of training. Nothing here may stop a run, nor change a bit of it:
whatever goes wrong is a note, and all that is random comes from seeds of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from animepggan.bar import Bar, silent
from animepggan.checkpoint import Loaded, without_place
from animepggan.corpus.facts import SEEN
from animepggan.metrics.embeddings import require_fidelity
from animepggan.metrics.pictures import Embedder, RealPictures, room
from animepggan.metrics.quality import Reference, make_reference, measure
from animepggan.metrics.sliced_wasserstein import LOWEST
from animepggan.metrics.split import Split
from animepggan.recipe import Recipe
from animepggan.sampling.draw import draw
from animepggan.sampling.grid import enlarge
from animepggan.sampling.latents import latents_of
from animepggan.training import State

NEEDS_NO_BACKBONE = "swd"
HIGHER_IS_BETTER = frozenset({"coverage"})
DEVIATIONS = 2.0
SEED = 0  # seeds from this one on are drawn, as `animepggan evaluate` draws them
KEYS = (
    *("kid", "kid_std", "frechet", "precision", "recall", "density", "coverage", "cluster_diversity"),
    *("swd", "swd_std"),
)
CONDITIONS = ("features", "reference", "n", "seed")
"""What of an evaluation stands in a line of the log, and what has to stand beside every number."""


def value_of(record: Mapping[str, Any], name: str) -> float | None:
    """A measure in a line of the log, of several levels their mean; None where it was not taken."""
    value = record.get(name)
    try:
        if isinstance(value, Mapping):
            value = sum(value.values()) / len(value) if value else None
        return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
    except (TypeError, OverflowError):  # of a file that was damaged
        return None


def first_line(error: Exception) -> str:
    """What an error says, on one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


@dataclass(frozen=True, eq=False)
class Measurer:
    """Measures a run's state; made once a run."""

    recipe: Recipe
    reference: Reference
    decisive: str  # the measure that decides which checkpoint is the best

    @property
    def criterion(self) -> Criterion:
        """What decides which moment is the best."""
        embedder = self.reference.embedder
        return Criterion(self.decisive, None if embedder is None else embedder.label, self.recipe.measures.count)

    def measure(self, state: State) -> dict[str, Any]:
        """The measures of fixed latents' pictures, by `evaluate`'s names: KEYS and CONDITIONS.

        A stage below the last one is enlarged pixel by pixel, so that all measures of a run can be compared.
        """
        count, side = self.recipe.measures.count, self.recipe.resolution
        loaded = Loaded(state.generator_ema, state.alpha, {}, Path("the averaged generator"))
        pictures = room(count, side)
        latents = latents_of(range(SEED, SEED + count), self.recipe.latent_dim)
        for index, picture in enumerate(draw(loaded, latents)):
            pictures[index] = enlarge(picture, side // picture.shape[0])
        found = measure(pictures, self.reference, seed=SEED)[0].as_json()
        return {key: found[key] for key in (*KEYS, *CONDITIONS)}

    def try_measure(self, state: State) -> dict[str, Any]:
        """The same; where something goes wrong, `notes` say what."""
        try:
            taken = self.measure(state)
        except Exception as error:  # a run is worth more than a measure
            return {"notes": [f"not measured: {first_line(error)}"]}
        if value_of(taken, self.decisive) is None:
            return {**taken, "notes": [f"{self.decisive} cannot be measured of so few or so small pictures"]}
        return taken


def make_measurer(
    recipe: Recipe, split: Split, device: torch.device, cache: Path, bar: Bar = silent
) -> tuple[Measurer | None, list[str]]:
    """What measures a run, and what the user should know; None where nothing can be measured.

    Where no backbone can be had, `swd` decides, which needs none.
    """
    notes: list[str] = []
    name: str = recipe.measures.name
    embedder: Embedder | None = None
    if name != NEEDS_NO_BACKBONE or recipe.measures.backbone is not None:
        try:
            require_fidelity()
            from animepggan.interop.backbones import choose

            embedder = choose(recipe.measures.backbone, cache=cache, device=device).at(SEEN)
        except Exception as error:  # of timm and of the hub, too
            notes.append(f"no {name} is measured, {NEEDS_NO_BACKBONE} instead: {first_line(error)}")
            name = NEEDS_NO_BACKBONE
    if name == NEEDS_NO_BACKBONE and recipe.resolution < LOWEST:
        return None, [*notes, f"nothing is measured: {NEEDS_NO_BACKBONE} needs pictures of {LOWEST} px or more"]
    real = RealPictures(split.held_out, recipe.resolution, split.labels, cache, bar)
    try:
        reference = make_reference(real, embedder=embedder, memorization=False, similarity=False, seed=recipe.seed)
        spec = split.held_out.spec  # checkpoints tell of the reference
        reference = replace(reference, name=reference.name.replace(spec, without_place(spec), 1))
    except Exception as error:
        return None, [*notes, f"nothing is measured: {first_line(error)}"]
    return Measurer(recipe, reference, name), [*notes, *reference.notes]


@dataclass(frozen=True)
class Criterion:
    """What decides which moment is the best; measures taken under other conditions are not compared."""

    measure: str
    features: str | None  # of which backbone
    count: int  # pictures

    def value(self, record: Mapping[str, Any]) -> float | None:
        """The measure in a line of the log; None where there is none that can be compared."""
        same = (record.get("features"), record.get("n")) == (self.features, self.count)
        return value_of(record, self.measure) if same else None


@dataclass(frozen=True)
class Mark:
    """A measure that the next ones have to better."""

    value: float
    images_seen: int


class BestSoFar:
    """The best moment of a run so far by one criterion, and how many measures ago the last clear improvement was."""

    def __init__(self, criterion: Criterion, last_resolution: int) -> None:
        self.criterion = criterion
        self.last_resolution = last_resolution  # pixels
        self.record: dict[str, Any] | None = None  # of the best moment: its measures, images_seen, resolution
        self.value: float | None = None
        self.mark: Mark | None = None
        """The last that was clearly better than the one before it, by DEVIATIONS of the measure: else chance improves a
        run for ever.
        """
        self.waited = 0
        """Measures since that one; below the last resolution none is counted, since there the best is to come."""

    def add(self, record: Mapping[str, Any]) -> bool:
        """Take in the next line of the log; whether it is the best so far."""
        value = self.criterion.value(record)
        if value is None:
            return False
        sign = -1 if self.criterion.measure in HIGHER_IS_BETTER else 1
        least = DEVIATIONS * (value_of(record, f"{self.criterion.measure}_std") or 0.0)
        if self.mark is None or sign * value < sign * self.mark.value - least:
            self.mark, self.waited = Mark(value, record["images_seen"]), 0
        else:
            self.waited += record.get("resolution") == self.last_resolution
        if self.value is None or sign * value < sign * self.value:
            self.record, self.value = dict(record), value
            return True
        return False
