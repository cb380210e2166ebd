"""`evaluate`: how good a model's pictures are, or those of a folder, against real ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animepggan.bar import Bar, Say, silent, unheard
from animepggan.checkpoint import PACKAGED_BASE
from animepggan.corpus.decode import decode, open_picture
from animepggan.corpus.names import printable
from animepggan.corpus.spec import Bad, Source, source_of
from animepggan.corpus.sweep import sweep
from animepggan.device import device_of
from animepggan.disk import cache_folder, expanded
from animepggan.errors import DataError, HubError, ModelError, RecipeError, resource_errors
from animepggan.hub import parse_spec
from animepggan.interop.backbones import choose
from animepggan.metrics.embeddings import require_fidelity
from animepggan.metrics.pictures import Embedder, RealPictures, room
from animepggan.metrics.quality import MOST, make_reference, measure
from animepggan.model import Model, load
from animepggan.recipe import load_recipe
from animepggan.report.scores import Evaluated
from animepggan.sampling.draw import Precision, check_precision
from animepggan.sampling.seeds import seeds_from

DEFAULT_COUNT = 1000  # pictures that are drawn of a model
MAX_BAD = 0.01  # share of a folder's pictures
LOOKED_AT = 32  # pictures of a set whose sides are asked
OF_MODELS = ("config.json", "generator_ema.safetensors", "checkpoints", "recipe.yaml")  # what a model's folder holds
OF_PICTURES = (".zip", ".tar", ".parquet", ".jsonl")

Pictures = NDArray[np.uint8]
"""[n, h, w, 3], RGB, 0 to 255."""


@dataclass(frozen=True)
class _Subject:
    """What is measured."""

    spec: str
    name: str
    resolution: int  # pixels
    count: int  # pictures
    pictures: Iterator[tuple[str, NDArray[np.uint8] | Bad]]  # by name, made as they are asked for
    background: str = "#ffffff"  # under transparent pictures
    trained_on: str | None = None  # SPEC of the training pictures, as the model tells; None: it does not
    how: Mapping[str, Any] = field(default_factory=dict)


@resource_errors()
def evaluate(
    subject: str | Path | Model,
    data: str | Path | Source,
    *,
    train: str | Path | Source | None = None,
    hold_out: float | None = None,
    count: int | None = None,
    seed: int = 0,
    backbone: str | None = None,
    batch_size: int = 32,
    truncation: float = 1.0,
    precision: Precision = "fp32",
    resolution: int | None = None,
    device: str = "auto",
    bar: Bar = silent,
    say: Say = unheard,
    warn: Say = unheard,
) -> Evaluated:
    """Measure how good the pictures of a model, or of a folder, are.

    `subject` is a model (as `load` takes it), of which pictures are drawn, or a folder, an archive or another SPEC of
    pictures. They are measured against a picture of each cluster of the SPEC `data`: copies and near copies count as
    one. KID, Fréchet distance, precision, recall, density and coverage compare embeddings of a backbone; the sliced
    Wasserstein distance and MS-SSIM need none. A picture is a copy when it is nearer to a training picture than 99 of
    100 new pictures are, and a blend when a mixture of two of them is.

    - `train`: SPEC of what the model was trained on, to look for copies in; by default as the model says, else `data`;
    - `hold_out`: measure against so many clusters of `data` only, or below 1 a share of them: not trained on;
    - `count`: pictures; by default 1000 of a model, all of a folder;
    - `seed`: seeds `seed`, `seed` + 1, ... are drawn; the measures' own draws follow from it too;
    - `backbone`: hub:owner/name[@revision], FILE.safetensors, efficientnet-lite0, or none; by default DINOv2 small if
      it can be had, else efficientnet-lite0, else none;
    - `batch_size`: pictures that the backbone looks at at once;
    - `truncation`, `precision`, `resolution`: as for `Model`; `device`: as for `load`.

    `bar` is called as the work goes on, `say` with a line where pictures have to be decoded first, and `warn` with each
    of `measures.notes`, which say why a measure is None or tells little.

    Raises DataError where there are too few pictures or too many bad ones; ModelError, HubError and RecipeError as
    `load` does, and where a backbone that was named cannot be had or a number is out of its range; ResourceError for
    want of disk or memory.
    """
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        warn(text)

    if hold_out is not None and not (0 < hold_out < 1 or (hold_out >= 1 and hold_out % 1 == 0)):
        raise RecipeError(f"hold_out {hold_out:g} is neither a share below 1 nor a whole number of clusters")
    for name, value in (("count", count), ("batch size", batch_size)):
        if value is not None and value < 1:
            raise RecipeError(f"{name} {value} is not a number of pictures from 1 on")
    check_precision(precision)
    embedder = _embedder(backbone, device, note)
    source = source_of(data)
    if isinstance(subject, Model) or is_model(str(subject)):
        model = subject if isinstance(subject, Model) else load(subject, device=device)
        chosen = _of_model(model, DEFAULT_COUNT if count is None else count, seed, truncation, precision, resolution)
    else:
        chosen = _of_pictures(str(subject), source, count, seed, resolution)

    def opened(spec: str | Path | Source) -> RealPictures:
        side, color = chosen.resolution, chosen.background
        return RealPictures.load(spec, resolution=side, background=color, cache=cache_folder(), bar=bar, say=say)

    against = opened(source)
    trained, memorization = None, True
    spec = (chosen.trained_on or source) if train is None else train
    if (spec.spec if isinstance(spec, Source) else str(spec)) != source.spec:
        try:
            trained = opened(spec)
        except (DataError, HubError) as error:
            if train is not None:
                raise
            memorization = False
            why = f"what the model was trained on is not here ({str(error).splitlines()[0]})"
            note(f"{why}: copies are not looked for\nname it: --train SPEC")
    reference = make_reference(
        against,
        train=trained,
        embedder=embedder,
        hold_out=hold_out,
        memorization=memorization,
        most=max(MOST, chosen.count),
        seed=seed,
        batch_size=batch_size,
    )
    pictures, names = _gathered(chosen, bar, note)
    measures, memorized = measure(pictures, reference, seed=seed, bar=bar)
    for text in measures.notes:
        note(text)
    return Evaluated(
        measures=replace(measures, notes=tuple(notes)),
        subject=chosen.spec,
        name=re.sub(r"[^\w.-]+", "-", f"{chosen.name}-{against.corpus.name}").strip("-."),
        how=chosen.how,
        pictures=pictures,
        names=names,
        memorization=memorized,
        training=reference.training,
    )


def is_model(subject: str) -> bool:
    """Whether what `evaluate` is given names a model; else it names pictures."""
    if subject.startswith("hub:"):
        return parse_spec(subject).kind == "model"
    if subject.startswith("demo:") or subject == PACKAGED_BASE:
        return subject == PACKAGED_BASE
    path = expanded(subject)
    if path.is_dir():
        return any((path / name).exists() for name in OF_MODELS)
    return path.suffix.lower() not in OF_PICTURES


def _embedder(spec: str | None, device: str, note: Say) -> Embedder | None:
    """The backbone to embed with; None where none is wanted, or none can be had and none was named."""
    if spec == "none":
        return None
    try:
        require_fidelity()
        return choose(spec, cache=cache_folder(), device=device_of(device))
    except (ModelError, HubError) as error:
        if spec is not None:
            raise
        note(f"only what needs no backbone is measured: {error}")
        return None


def _of_model(
    model: Model, count: int, seed: int, truncation: float, precision: Precision, resolution: int | None
) -> _Subject:
    seeds = seeds_from(seed, count)
    drawn = model.draw(seeds, truncation=truncation, precision=precision, resolution=resolution)
    return _Subject(
        spec=model.spec,
        name=_name(model),
        resolution=resolution or model.resolution,
        count=count,
        pictures=zip((f"seed {number}" for number in seeds), drawn, strict=True),
        background=str((model.provenance.get("recipe") or {}).get("background", "#ffffff")),
        trained_on=_trained_on(model),
        how={"truncation": truncation, "precision": precision},
    )


def _run_of(model: Model) -> Path | None:
    """The folder of the run that the model is a checkpoint of; None where it lies elsewhere."""
    folders = model.path.resolve().parents
    run = folders[1] if folders[0].name == "checkpoints" else None
    return run if run is not None and (run / "recipe.yaml").is_file() else None


def _name(model: Model) -> str:
    run = _run_of(model)
    return model.name if run is None else f"{run.name}/{model.path.name}"


def _trained_on(model: Model) -> str | None:
    """SPEC of the pictures: by the recipe of its run, which may tell of this machine; else as the model tells."""
    run = _run_of(model)
    try:
        known = None if run is None else load_recipe(run / "recipe.yaml").recipe.data
    except RecipeError:
        known = None
    return known or (model.provenance.get("corpus") or {}).get("spec")


def _of_pictures(spec: str, data: Source, count: int | None, seed: int, resolution: int | None) -> _Subject:
    source = source_of(spec)
    if not source.entries:
        raise DataError(f"{printable(spec)} holds neither a model nor pictures")
    side = resolution or _common_side(source, data)
    entries = source.entries
    if count is not None and count < len(entries):
        chosen = np.sort(np.random.default_rng(seed).choice(len(entries), count, replace=False))
        entries = tuple(entries[index] for index in chosen)
    looks = sweep(entries, lambda _, file: decode(file, resolution=side, background=(255, 255, 255)))
    return _Subject(spec, source.name, side, len(entries), ((entry.name, found) for entry, found in looks))


def _gathered(subject: _Subject, bar: Bar, note: Say) -> tuple[Pictures, Sequence[str]]:
    """All pictures and their names, less a few bad ones; DataError where these are too many."""
    store = room(subject.count, subject.resolution)
    names: list[str] = []
    bad: list[Bad] = []
    for name, picture in subject.pictures:
        if isinstance(picture, Bad):
            bad.append(picture)
        else:
            store[len(names)] = picture
            names.append(name)
        bar("draw" if subject.how else "read", len(names) + len(bad), subject.count)
    told = f"{len(bad)} of {subject.count} pictures are unusable"
    if len(bad) > MAX_BAD * subject.count:
        raise DataError(f"{printable(subject.spec)}: {told}, as {bad[0]}\nremove them first")
    if bad:
        note(f"{told} and left out, as {bad[0]}")
    return store[: len(names)], names


def _common_side(*sources: Source) -> int:
    """The largest power of two that most pictures of every source have, 4 to 1024."""
    least = 1024
    for source in sources:
        some = source.entries[:: max(1, len(source) // LOOKED_AT)][:LOOKED_AT]
        looks = sweep(some, lambda _, file: min(open_picture(file).image.size))
        sides = [found for _, found in looks if not isinstance(found, Bad)]
        least = min(least, median_low(sides)) if sides else least
    return 1 << (max(4, least).bit_length() - 1)
