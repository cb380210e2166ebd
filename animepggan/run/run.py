"""The loop around training: what follows from each step (log, previews, measures, checkpoints), and how a run ends.

`open_run` locks a run's folder and begins or takes up the run in it; `Run.train` yields what happened in each step. Of
several processes that train together only one would open a run: the others go through `training.run` alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from animepggan import training
from animepggan.bar import Bar, silent
from animepggan.corpus import Corpus
from animepggan.corpus.likeness import clusters_in
from animepggan.disk import cache_folder, write_json, write_text
from animepggan.errors import BUG, AnimepgganError, DivergedError, Interrupted, ModelError, RecipeError, resource_error
from animepggan.metrics.split import Split, split
from animepggan.recipe import Recipe, Resolved, dump, schedule_of
from animepggan.report.health import Health
from animepggan.report.log import Log, read_log
from animepggan.report.measures import Measurer, make_measurer, value_of
from animepggan.report.previews import save_preview, save_real
from animepggan.run.begin import Inputs, RunOptions, Start, begin, go_back, take_up
from animepggan.run.checkpoints import Checkpoints, crosses, provenance, without_places
from animepggan.run.folder import RECIPE, STATUS, holds_else, holds_run, lock, move_aside, recipe_of_run, write_bad
from animepggan.run.returns import Return, discard_after, rate_factor
from animepggan.run.stopper import Stopper
from animepggan.schedule import Schedule
from animepggan.training import Progress, State
from animepggan.transfer import first_resolution

EVERY = "measures.every_kimg"
MEASURING = 0.1
"""Of the run's time, at most, where it measures by default: see `measures_by_default`."""
PATIENCE = 5
"""Measures, by default there."""


@dataclass(frozen=True)
class Event:
    """A step, and what followed from it."""

    progress: Progress
    total_images: int  # of the run
    record: dict[str, Any] | None  # the line written to log.jsonl
    preview: Path | None
    checkpoint: Path | None
    measured: tuple[str, float] | None = None  # the measure that decides
    is_best: bool = False  # it is the best so far, and `checkpoint` is marked as such
    notes: tuple[str, ...] = ()  # what the user should know


@dataclass(eq=False)
class Run:
    """A run whose folder this process holds the lock of; `open_run` makes one."""

    folder: Path
    resolved: Resolved
    inputs: Inputs
    options: RunOptions
    schedule: Schedule  # as the recipe has it; each return slows it
    start: Start  # where it began, was taken up or has gone back to, with the state as it stands now
    checkpoints: Checkpoints
    corpus: Corpus  # what is trained on: without the pictures held out
    patience: int | None  # measures without a better one after which the run ends
    notes: tuple[str, ...]  # what the user should know
    measurer: Measurer | None = None  # None: nothing is measured
    held_out: Split | None = None
    is_spaced: bool = True  # whether it is settled how often it is measured
    stopper: Stopper = field(default_factory=Stopper)
    untold: list[str] = field(default_factory=list)  # for the notes of the next event

    @property
    def state(self) -> State:
        return self.start.state

    @property
    def recipe(self) -> Recipe:
        return self.resolved.recipe

    @property
    def finished(self) -> bool:
        return self.state.images_seen >= self.schedule.total_images or self.gave_up is not None

    @property
    def gave_up(self) -> str | None:
        """Why the run ended before its last image; None where it did not."""
        best = self.checkpoints.best
        if self.patience is None or best is None or best.mark is None or best.waited < self.patience:
            return None
        return (
            f"{best.criterion.measure} has not improved for {best.waited} measures, since {best.mark.value:.4g} at "
            f"{best.mark.images_seen / 1000:g} kimg"
        )

    def train(self) -> Generator[Event]:
        """Train to the end, yielding every step; Interrupted after a signal, once the run is saved.

        DivergedError where the run went wrong and may not go back, or not again.
        """
        if self.finished:
            return
        with self._in_status(), self.stopper.listening():
            if self.state.images_seen == 0:
                save_real(self.corpus, self.state, self.folder)
                save_preview(self.state, self.folder)
            while True:
                images_seen = self.state.images_seen
                health = Health(self.recipe, read_log(self.folder, images_seen))
                if self.recipe.returns and not images_seen:
                    health.begin(health.variety(self.state, self.corpus))
                with closing(Log(self.folder, images_seen, tensorboard=self.recipe.log.tensorboard)) as log:
                    wrong = yield from self._until_wrong(log, health)
                if wrong is None:
                    break
                self._go_back(wrong, health.well_until)
            if self.gave_up is not None:
                self.checkpoints.save_here(self.state)
        self.write_status("finished", 0)

    def _until_wrong(self, log: Log, health: Health) -> Generator[Event, None, str | None]:
        """Train to the end, or until something goes wrong that the run goes back for: what that is, on one line."""
        steps = training.run(
            self.state,
            self.schedule.slowed(rate_factor(self.start.returns)),
            self.corpus,
            precision=self.options.precision,
            validation=None if self.held_out is None else self.held_out.held_out,
            base_corpus=self.inputs.base_corpus,
        )
        while not self.finished:
            try:
                progress = next(steps)
            except DivergedError as error:
                if not self.recipe.returns:
                    raise
                return str(error).splitlines()[0]
            event, wrong = self._follow(progress, log, health)
            yield event
            if wrong is not None and self.recipe.returns:
                return wrong
            if self.stopper.signal_number is not None and not self.finished:
                saved = self.checkpoints.save_here(self.state)
                raise Interrupted(
                    f"stopped at {self.state.images_seen} images; saved {saved}\n"
                    "to continue, run the same command again",
                    self.stopper.signal_number,
                )
        return None

    def _go_back(self, wrong: str, well_until: int) -> None:
        """To the last good checkpoint and half the learning rate; DivergedError where that was done often enough."""
        at, before = self.state.images_seen, self.start.returns
        start = go_back(self.folder, well_until, self.recipe, self.inputs, self.options, self.start)
        to = "the start" if start.checkpoint is None else start.checkpoint.name
        if len(before) >= self.recipe.returns:
            best = self.checkpoints.best_path
            discard_after(self.folder, start.state.images_seen, but=best)
            self.checkpoints.last = best or start.checkpoint
            left = f"the best checkpoint: {best}" if best else f"the last good checkpoint: {start.checkpoint}"
            if best is None and start.checkpoint is None:
                left = "it was well nowhere but at its start"
            raise DivergedError(
                f"{self.folder}: went wrong again at {at / 1000:g} kimg, gone back {len(before)} times before: "
                f"{wrong}\n{left}\n"
                "begin anew with --restart --set schedule.learning_rate=LOWER"
            )
        discard_after(self.folder, start.state.images_seen)
        name = None if start.checkpoint is None else start.checkpoint.name
        self.stand_at(replace(start, returns=(*before, Return(at, name))))
        self.untold.append(
            f"gone back from {at / 1000:g} kimg to {to}, on at half the learning rate "
            f"(return {len(before) + 1} of {self.recipe.returns})"
        )
        self.write_status("running")

    def stand_at(self, start: Start) -> None:
        """Go on from there: what is best so far follows from the checkpoints and the log up to it."""
        self.start = start
        told = self.checkpoints.provenance
        seen = start.state.images_seen
        self.checkpoints = Checkpoints(self.folder, self.schedule, seen, start.checkpoint, start.returns)
        self.checkpoints.provenance = told
        if self.measurer is not None:
            self.checkpoints.judge_by(self.measurer.criterion, seen)

    def _follow(self, progress: Progress, log: Log, health: Health) -> tuple[Event, str | None]:
        """What follows from a step, each at its interval: a preview, measures, a line of the log, a checkpoint; and
        what goes wrong.
        """
        recipe, state, ended = self.recipe, self.state, progress.stage_ended is not None
        log.add(progress)
        preview = None
        if ended or crosses(progress, recipe.previews.every_kimg):
            preview = save_preview(state, self.folder)
        measures = self._measures(progress, log)
        record, warnings = None, []
        if measures or ended or crosses(progress, recipe.log.every_kimg):
            returns = {"returns": len(self.start.returns)} if self.start.returns else {}
            record = log.line({**measures, **returns, "variety": health.variety(state, self.corpus)})
            if warnings := health.add(record):
                record["warnings"] = warnings
            log.write(record)
        checkpoint = None
        wrong = health.gone_wrong if warnings else None
        if not (wrong and recipe.returns):  # nobody goes on from this one
            checkpoint = self.checkpoints.follow(progress, state, record)
        if record is not None or checkpoint is not None:
            self.write_status("running")
        log.resume_clock()
        name = "" if self.measurer is None else self.measurer.decisive
        value = value_of(measures, name)
        told, self.untold = self.untold, []
        event = Event(
            progress=progress,
            total_images=self.schedule.total_images,
            record=record,
            preview=preview,
            checkpoint=checkpoint,
            measured=None if value is None else (name, value),
            is_best=checkpoint is not None and checkpoint == self.checkpoints.best_path,
            notes=(*told, *measures.get("notes", ()), *warnings),
        )
        return event, wrong

    def _measures(self, progress: Progress, log: Log) -> dict[str, Any]:
        """The measures after a step, where some are due: at their interval, at the end, and, while that is not settled
        yet, at the first line of the log.
        """
        recipe = self.recipe
        first = not self.is_spaced and crosses(progress, recipe.log.every_kimg)
        at_end = progress.images_seen >= self.schedule.total_images
        if self.measurer is None or not (first or at_end or crosses(progress, recipe.measures.every_kimg)):
            return {}
        before = time.perf_counter()
        measures = self.measurer.try_measure(self.state)
        if not self.is_spaced:
            self.is_spaced = True
            self._space(time.perf_counter() - before, log.seconds_per_image)
        return measures

    def _space(self, seconds: float, per_image: float) -> None:
        """Measure so rarely, at `seconds` each, that it takes no more than its share of the run's time; recipe.yaml
        tells the interval, and a run that is taken up keeps it.
        """
        total = self.schedule.total_images
        affordable = MEASURING / (1 - MEASURING) * per_image * total / max(seconds, 1e-9)
        every = math.ceil(total / max(1, int(affordable) - 1)) / 1000  # one has been taken
        if every > self.recipe.measures.every_kimg:
            self.resolved = self.resolved.revalued("measures.every_kimg", every)
            self.checkpoints.provenance["recipe"] = without_places(self.recipe).model_dump(mode="json")
            write_text(self.folder / RECIPE, dump(self.resolved), sync=True)

    @contextmanager
    def _in_status(self) -> Iterator[None]:
        """Tell in status.json that the run goes on, and how it ended where that is in an error."""
        self.write_status("running")
        try:
            yield
        except GeneratorExit:  # the caller left
            self.write_status("interrupted")
            raise
        except BaseException as error:
            ours = error if isinstance(error, AnimepgganError) else resource_error(error)
            state = "interrupted" if isinstance(error, Interrupted) else "failed"
            self.write_status(state, ours.exit_code if ours else BUG)
            raise

    def write_status(self, state: str, exit_code: int | None = None) -> None:
        """Replace status.json; `state` is running, finished, interrupted or failed."""
        last = self.checkpoints.last
        status: dict[str, Any] = {
            "state": state,
            "exit": exit_code,
            "images_seen": self.state.images_seen,
            "total_images": self.schedule.total_images,
            "last_checkpoint": None if last is None else str(last.relative_to(self.folder)),
        }
        if self.start.returns:
            status["returns"] = [each.as_json() for each in self.start.returns]
        if state == "finished" and self.gave_up is not None:
            status["reason"] = self.gave_up
        try:
            write_json(self.folder / STATUS, status)
        except OSError:  # a full disk must not hide the error that is being reported
            if state == "running":
                raise


@contextmanager
def open_run(folder: Path, resolved: Resolved, inputs: Inputs, options: RunOptions, bar: Bar = silent) -> Iterator[Run]:
    """Lock `folder`, then start a run in it or take up the one that is there, at its newest whole checkpoint.

    BusyError where another process holds the lock; ModelError where the recipe or the corpus is not the run's, or no
    checkpoint of it can be read; RecipeError where the folder holds something else, or patience nothing to wait for;
    DataError where there are too few pictures for a batch, or to hold some out.
    """
    if options.patience and not resolved.recipe.measures.every_kimg:
        raise RecipeError(
            "--patience waits for measures, and none are taken\nsay how often: --set measures.every_kimg=10"
        )
    with lock(folder):
        if options.restart and holds_run(folder):
            move_aside(folder)
        if holds_run(folder):
            resolved = _as_spaced(folder, resolved)
            start = take_up(folder, resolved.recipe, inputs, options)
        elif options.resume:
            raise ModelError(f"{folder}: --resume, but there is no run here")
        elif holds_else(folder):
            raise RecipeError(f"{folder}: holds something else than a run; choose another --output")
        else:
            start = begin(resolved.recipe, inputs, options)
            folder.mkdir(exist_ok=True)
        run = _opened(folder, resolved, inputs, options, start, bar)
        if run.finished:  # perhaps killed between its last checkpoint and its last word
            run.write_status("finished", 0)
        yield run


def measures_by_default(resolved: Resolved) -> bool:
    """Whether it was left to a preset how often the run is measured: then no more than MEASURING of its time, and it
    ends once it does not improve.
    """
    return resolved.recipe.measures.every_kimg > 0 and resolved.origins[EVERY].startswith("preset")


def _as_spaced(folder: Path, resolved: Resolved) -> Resolved:
    """With the interval between measures that the run in `folder` has found for itself."""
    known, _ = recipe_of_run(folder)
    if known is None or not known.measures.every_kimg or not measures_by_default(resolved):
        return resolved
    return resolved.revalued(EVERY, known.measures.every_kimg)


def _opened(folder: Path, resolved: Resolved, inputs: Inputs, options: RunOptions, start: Start, bar: Bar) -> Run:
    """The run at `start`; unless it is finished, its pictures are made ready and its recipe is written."""
    recipe, state, corpus = resolved.recipe, start.state, inputs.corpus
    schedule = schedule_of(recipe, first_resolution=first_resolution(inputs.base))
    by_default = measures_by_default(resolved)
    patience = PATIENCE if options.patience is None and by_default else options.patience or None
    checkpoints = Checkpoints(folder, schedule, state.images_seen, start.checkpoint, start.returns)
    run = Run(folder, resolved, inputs, options, schedule, start, checkpoints, corpus, patience, start.notes)
    if run.finished:
        return run
    count = None
    if recipe.measures.every_kimg or recipe.augment == "adaptive" or recipe.apa:
        clusters = clusters_in(corpus, cache=cache_folder(), bar=bar)
        run.held_out = parts = split(corpus, clusters, recipe.measures.hold_out, recipe.seed)
        run.corpus, count = parts.training, parts.count
        if recipe.measures.every_kimg:
            run.measurer, notes = make_measurer(recipe, parts, state.device, cache_folder(), bar)
            run.notes += tuple(notes)
            run.is_spaced = not by_default or bool(read_log(folder, state.images_seen))
    for phase in schedule.phases:
        run.corpus.require(phase.batch_size)
    checkpoints.provenance = provenance(
        recipe, options.precision, corpus, held_out=count, base=start.base, base_corpus=inputs.base_corpus
    )
    run.stand_at(start)
    write_text(folder / RECIPE, dump(resolved), sync=True)
    write_bad(folder, corpus)
    return run
