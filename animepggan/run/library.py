"""`pretrain` and `finetune`: from what a person names (a recipe, pictures, a base) to a finished run.

The command line calls these, and they are the library's. Nothing is printed: who wants to know more than the result
passes `watch` (called with an `Event` after every step), `say` and `warn` (with a line of text), `bar` (see `bar.Bar`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from animepggan.bar import Bar, Say, silent, unheard
from animepggan.checkpoint import BEST, PACKAGED_BASE
from animepggan.corpus import Corpus
from animepggan.corpus.demo import cached
from animepggan.corpus.likeness import clusters_in
from animepggan.corpus.names import printable
from animepggan.device import device_of
from animepggan.disk import cache_folder, expanded
from animepggan.errors import DataError, RecipeError, resource_errors
from animepggan.recipe import Resolved, find_recipe, load_recipe, schedule_of
from animepggan.recipe.text import value_text
from animepggan.run.begin import Inputs, RunOptions
from animepggan.run.naming import RUNS, folder_for
from animepggan.run.run import Event, open_run
from animepggan.sampling.draw import Precision
from animepggan.transfer import PRESETS, Base, check_fit, narrow, open_base, preset_for, preset_values

MEASURED_FROM = 500
"""Clusters from which on fine-tuning measures by default: of fewer, none can be spared."""
MEASURES = 20
"""So many then, or fewer where they would take too much of the run's time."""

Watch = Callable[[Event], object]
Settings = Mapping[str, object] | Sequence[str]
"""Recipe values: by dotted key (`{"schedule.batch_size": 8}`), or as after `--set` (`["schedule.batch_size=8"]`)."""


@dataclass(frozen=True)
class Callbacks:
    """Who wants to know what goes on."""

    bar: Bar = silent
    say: Say = unheard
    warn: Say = unheard
    watch: Watch = unheard


@dataclass(frozen=True)
class FinishedRun:
    """What a run left."""

    folder: Path
    checkpoint: Path  # the newest
    best: Path | None  # the checkpoint that a measure chose; None where nothing was measured
    images_seen: int
    total_images: int  # of its schedule
    notes: tuple[str, ...]  # what `warn` was told of the run that it went on from, and of what is measured


@resource_errors()
def pretrain(
    recipe: str | Path,
    *,
    data: str | Path | None = None,
    settings: Settings = (),
    seed: int | None = None,
    output: str | Path | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    reference: bool = False,
    resume: bool = False,
    restart: bool = False,
    allow: Sequence[str] = (),
    patience: int | None = None,
    watch: Watch = unheard,
    bar: Bar = silent,
    say: Say = unheard,
    warn: Say = unheard,
) -> FinishedRun:
    """Grow a base model as `recipe` (a path, or the name of a shipped one) says, or go on with the run that is there.

    - `data` (a SPEC), `settings` and `seed` win over the recipe's values.
    - `output` is the run's folder, by default runs/<recipe>-<data name>. With `resume` there must be a run in it; with
      `restart` that is moved aside; `allow` are keys of the recipe that may differ from the run's.
    - `device` is auto (a GPU if there is one), cpu, cuda, cuda:N or mps; `precision` bf16 computes convolutions in
      bfloat16; `reference` trains by the plain step.
    - `patience`: the run ends when so many measures in a row were not clearly better, by twice the measure's deviation;
      0 and None: never.

    Raises RecipeError, DataError, ModelError, ResourceError, BusyError and DivergedError; Interrupted where SIGINT,
    SIGTERM, SIGHUP or SIGUSR1 came while it trained in the main thread, once the run is saved.
    """
    # Before pictures are decoded, which can take long.
    how = RunOptions(device_of(device), precision, reference, resume, restart, allow, patience)
    tell = Callbacks(bar, say, warn, watch)
    resolved = pretraining_recipe(recipe, data, settings, seed, tell)
    return _train(resolved, load_corpus(resolved, tell), None, output, how, tell)


@resource_errors()
def finetune(
    base: str | Path | None = None,
    data: str | Path | None = None,
    *,
    recipe: str | Path | None = None,
    settings: Settings = (),
    seed: int | None = None,
    output: str | Path | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    reference: bool = False,
    resume: bool = False,
    restart: bool = False,
    allow: Sequence[str] = (),
    patience: int | None = None,
    watch: Watch = unheard,
    bar: Bar = silent,
    say: Say = unheard,
    warn: Say = unheard,
) -> FinishedRun:
    """Train `base` (a MODEL; by default the one that comes with the package) further on a small set of one character.

    Recipe values that are not set come from a preset, which the number of clusters in the data chooses, and then from
    the base. Without `recipe`, the preset chooses between the shipped `yui` and `yui-few`, too. Where they are left out
    here, a `base` and `data` that the recipe names are taken.

    Of 500 clusters or more a tenth, 500 at most, is held out and measured against in a tenth of the time at most,
    unless the recipe says how often (`measures.every_kimg`, 0 for never); then the best checkpoint is kept, and the run
    ends after a `patience` of 5. A run that goes wrong goes back to its last good checkpoint, `returns` times at most:
    2 by default. `output` is by default runs/<character>, from where her pictures lie: the same recipe, base and
    pictures go on there, others go to runs/<character>-2.

    The rest is as for `pretrain`. Raises what that raises, and HubError where the hub does not deliver the base.
    """
    how = RunOptions(device_of(device), precision, reference, resume, restart, allow, patience)
    tell = Callbacks(bar, say, warn, watch)
    resolved, start, corpus = finetuning_recipe(base, data, recipe, settings, seed, tell)
    assert corpus is not None
    return _train(resolved, corpus, start, output, how, tell)


def pretraining_recipe(
    recipe: str | Path, data: str | Path | None, settings: Settings, seed: int | None, tell: Callbacks
) -> Resolved:
    """The recipe that `pretrain` would train by; RecipeError where it has a base."""
    resolved = _recipe_of_call(recipe, settings, tell, data=data, seed=seed)
    if resolved.recipe.base is not None:
        raise RecipeError(f"{resolved.file}: has a base: `animepggan finetune --recipe {recipe}` trains it")
    return resolved


def finetuning_recipe(
    base: str | Path | None,
    data: str | Path | None,
    recipe: str | Path | None,
    settings: Settings,
    seed: int | None,
    tell: Callbacks,
    without_data: bool = False,  # where the pictures of a recipe that was named are not here, go on without them
    clusters: int | None = None,  # of a set that is still to come: no pictures are asked for
) -> tuple[Resolved, Base, Corpus | None]:
    """The recipe that `finetune` would train by, with the values of preset and base; the base; the pictures."""

    resolve = partial(_recipe_of_call, settings=settings, tell=tell, data=data, seed=seed, base=base)
    resolved = resolve(recipe or PRESETS[0].recipe)
    if resolved.recipe.base is None:
        resolve = partial(resolve, base=PACKAGED_BASE)
        resolved = resolve(recipe or PRESETS[0].recipe)
    start = open_base(resolved.recipe.base or PACKAGED_BASE)
    if start.found.spec == PACKAGED_BASE:
        tell.say(f"base: the one that comes with animepggan, {start.resolution} px (another: --base MODEL)")
    else:
        tell.say(f"base: {start.found.path}" + (f" at commit {start.found.commit}" if start.found.commit else ""))
    resolved = resolved.inherit(start.recipe_values())
    check_fit(resolved.recipe, start)
    corpus: Corpus | None = None
    try:
        if clusters is None:
            corpus = _decoded(resolved, tell)
            clusters = len(np.unique(clusters_in(corpus, cache=cache_folder(), bar=tell.bar)))
            _describe(corpus, tell, clusters)
        preset = preset_for(clusters)
    except DataError as error:
        if recipe is None or not without_data:
            raise
        preset = PRESETS[0]
        clusters = preset.clusters
        tell.warn(f"{str(error).splitlines()[0]}\nthe plan is that for about {clusters} clusters")
    if recipe is None and preset.recipe != PRESETS[0].recipe:
        resolved = resolve(preset.recipe).inherit(start.recipe_values())
    values = preset_values(preset, start)
    resolved = resolved.settled(preset.name, values)
    if clusters >= MEASURED_FROM:
        images = schedule_of(resolved.recipe, first_resolution=start.resolution).total_images
        every = max(images / MEASURES / 1000, 0.001)
        resolved = resolved.settled(preset.name, values | {"measures.every_kimg": round(every, 3)})
    check_fit(resolved.recipe, start)
    if note := narrow(resolved.recipe, start):
        tell.warn(note)
    return resolved, start, corpus


def preset_of(resolved: Resolved) -> str:
    """The preset that a recipe has values from, "preset for hundreds of pictures"; empty where it has none."""
    return next((origin for origin in resolved.origins.values() if origin.startswith("preset ")), "")


def load_corpus(resolved: Resolved, tell: Callbacks, spec: str | None = None) -> Corpus:
    """The pictures of `spec`, by default the recipe's, from the cache or decoded; DataError where there is neither.

    Says a line about them.
    """
    corpus = _decoded(resolved, tell, spec)
    _describe(corpus, tell, len(corpus))
    return corpus


def _decoded(resolved: Resolved, tell: Callbacks, spec: str | None = None) -> Corpus:
    recipe = resolved.recipe
    data = spec or recipe.data
    if data is None:
        raise DataError(
            f"{resolved.file}: no data: say which pictures to train on\n"
            "--data takes a folder, a zip, a tar, demo:general, demo:yui, or hub:datasets/owner/name"
        )
    if data in ("demo:general", "demo:yui"):  # drawn into the cache on first use
        say_once = cache(tell.say)

        def bar(what: str, done: int, total: int) -> None:
            say_once(f"drawing {data} into the cache")
            tell.bar(what, done, total)

        cached("yui" if data == "demo:yui" else "general", bar=bar)
    return Corpus.load(
        data,
        resolution=recipe.resolution,
        random_shift=recipe.random_shift,
        background=recipe.background,
        max_bad=recipe.max_bad,
        bar=tell.bar,
        say=tell.say,
    )


def _describe(corpus: Corpus, tell: Callbacks, clusters: int) -> None:
    """Say what is trained on, and what is left out of it."""
    count = f"{len(corpus.names)} pictures"
    if clusters < len(corpus.names):
        count += f" in {clusters} clusters"
    tell.say(f"corpus: {count}, {corpus.distinct} of them different, from {printable(corpus.spec)}")
    for bad in corpus.bad[:3]:
        tell.warn(f"left out {bad}")
    if len(corpus.bad) > 3:
        tell.warn(f"left out {len(corpus.bad) - 3} more pictures")


def _recipe_of_call(recipe: str | Path, settings: Settings, tell: Callbacks, **given: object) -> Resolved:
    """The recipe with the caller's values over it; says where a missing path fell back to a shipped recipe."""
    found = find_recipe(recipe)
    if found.fell_back:
        tell.say(f"{recipe}: no such file here; taking the shipped recipe {found.path}")
    if isinstance(settings, Mapping):
        settings = [f"{key}={value_text(value)}" for key, value in settings.items()]
    values = {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}
    return load_recipe(recipe, overrides=settings, settings=values)


def _train(
    resolved: Resolved,
    corpus: Corpus,
    base: Base | None,
    output: str | Path | None,
    options: RunOptions,
    tell: Callbacks,
) -> FinishedRun:
    """Start or continue the run in the output folder, and follow it to its end."""
    if output is not None:
        folder = expanded(output)
    elif base is None:
        folder = RUNS / f"{resolved.recipe.name}-{corpus.name}"
    else:
        folder = folder_for(resolved.recipe, corpus, options)
    extend_data = resolved.recipe.extend_data
    base_corpus = None if extend_data is None else load_corpus(resolved, tell, extend_data)
    with open_run(folder, resolved, Inputs(corpus, base, base_corpus), options, tell.bar) as run:
        for note in run.notes:
            tell.warn(note)
        if run.finished:
            tell.say(f"{folder}: this run is complete")
        else:
            by = ", ".join(filter(None, (f"recipe {resolved.recipe.name}", preset_of(resolved))))
            verb = "continuing" if run.state.images_seen else "starting"
            at = f"{run.state.images_seen} of {run.schedule.total_images} images"
            tell.say(f"{verb} {folder} at {at}: {by}, every value in recipe.yaml")
            with closing(run.train()) as events:  # where `watch` raises, the log and the status are closed at once
                for event in events:
                    tell.watch(event)
        if run.gave_up is not None:
            tell.say(f"stopped: {run.gave_up}")
        checkpoints = run.checkpoints
        if checkpoints.best is not None and checkpoints.best_path is not None:
            measure, value = checkpoints.best.criterion.measure, checkpoints.best.value
            tell.say(f"best by {measure}, {value:.4g}: {checkpoints.best_path.name}; as a MODEL: {folder / BEST}")
        assert checkpoints.last is not None
        return FinishedRun(
            folder=folder,
            checkpoint=checkpoints.last,
            best=checkpoints.best_path,
            images_seen=run.state.images_seen,
            total_images=run.schedule.total_images,
            notes=run.notes,
        )
