"""The loop around training: what follows from each step (log, previews, measures, checkpoints), and how a run ends.

`open_run` locks a run's folder and begins or takes up the run in it; `Run.train` yields what happened in each step. Of
several processes that train together only one would open a run: the others go through `training.run` alone.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from animepggan import training
from animepggan.bar import Bar, silent
from animepggan.corpus import Corpus
from animepggan.corpus.likeness import clusters_in
from animepggan.disk import cache_folder, write_json, write_text
from animepggan.errors import BUG, AnimepgganError, Interrupted, ModelError, RecipeError, resource_error
from animepggan.metrics.split import split
from animepggan.recipe import Resolved, dump, schedule_of
from animepggan.report.health import Health
from animepggan.report.log import Log, read_log
from animepggan.report.measures import Measurer, make_measurer, value_of
from animepggan.report.previews import save_preview, save_real
from animepggan.run.begin import Inputs, RunOptions, Start, begin, take_up
from animepggan.run.checkpoints import Checkpoints, crosses, provenance
from animepggan.run.folder import RECIPE, STATUS, holds_else, holds_run, lock, move_aside, write_bad
from animepggan.schedule import Schedule
from animepggan.training import Progress, State
from animepggan.transfer import first_resolution


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


class Stopper:
    """The signals that end a run while it trains: the first is remembered, a second one stops at once.

    SIGINT and SIGTERM; where the system has them also SIGHUP, of a terminal that closes (but not under nohup), and
    SIGUSR1, by which schedulers warn.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        optional = (getattr(signal, name, None) for name in ("SIGHUP", "SIGUSR1"))  # Windows has neither
        heard = (number for number in optional if number and signal.getsignal(number) is not signal.SIG_IGN)
        self.numbers = (signal.SIGINT, signal.SIGTERM, *heard)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle them for the time of the block; in the main thread, elsewhere Python allows it not."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in self.numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        # From here on the system itself acts, even in the middle of a long operation of torch.
        for other in self.numbers:
            # A terminal that closes says so twice, itself and by its shell.
            hung_up = other == number == getattr(signal, "SIGHUP", None)
            signal.signal(other, signal.SIG_IGN if hung_up else signal.SIG_DFL)


@dataclass(eq=False)
class Run:
    """A run whose folder this process holds the lock of; `open_run` makes one."""

    folder: Path
    schedule: Schedule
    state: State
    corpus: Corpus  # what is trained on: without the pictures held out
    steps: Iterator[Progress]  # of `training.run`, from where the state stands to the end of the schedule
    checkpoints: Checkpoints
    measurer: Measurer | None  # None: nothing is measured
    patience: int | None  # measures without a better one after which the run ends
    notes: tuple[str, ...]  # what the user should know
    stopper: Stopper = field(default_factory=Stopper)

    @property
    def finished(self) -> bool:
        return self.state.images_seen >= self.schedule.total_images or self.gave_up is not None

    @property
    def gave_up(self) -> str | None:
        """Why the run ended before its last image; None where it did not."""
        best = self.checkpoints.best
        if self.patience is None or best is None or best.record is None or best.waited < self.patience:
            return None
        return (
            f"{best.criterion.measure} has not improved for {best.waited} measures, since {best.value:.4g} at "
            f"{best.record['images_seen'] / 1000:g} kimg"
        )

    def train(self) -> Generator[Event]:
        """Train to the end, yielding every step; Interrupted after a signal, once the run is saved."""
        if self.finished:
            return
        with self._in_status():
            recipe, images_seen = self.state.recipe, self.state.images_seen
            health = Health(recipe, read_log(self.folder, images_seen))
            log = Log(self.folder, images_seen, tensorboard=recipe.log.tensorboard)
            with closing(log), self.stopper.listening():
                if self.state.images_seen == 0:
                    save_real(self.corpus, self.state, self.folder)
                    save_preview(self.state, self.folder)
                for progress in self.steps:
                    yield self._follow(progress, log, health)
                    if self.finished:
                        break
                    if self.stopper.signal_number is not None:
                        saved = self.checkpoints.save_here(self.state)
                        raise Interrupted(
                            f"stopped at {self.state.images_seen} images; saved {saved}\n"
                            "to continue, run the same command again",
                            self.stopper.signal_number,
                        )
                if self.gave_up is not None:
                    self.checkpoints.save_here(self.state)
        self.write_status("finished", 0)

    def _follow(self, progress: Progress, log: Log, health: Health) -> Event:
        """What follows from a step, each at its interval: a preview, measures, a line of the log, a checkpoint."""
        recipe, state, ended = self.state.recipe, self.state, progress.stage_ended is not None
        log.add(progress)
        preview = None
        if ended or crosses(progress, recipe.previews.every_kimg):
            preview = save_preview(state, self.folder)
        measures: dict[str, Any] = {}
        at_end = progress.images_seen >= self.schedule.total_images
        if self.measurer is not None and (at_end or crosses(progress, recipe.measures.every_kimg)):
            measures = self.measurer.try_measure(state)
        record = None
        if measures or ended or crosses(progress, recipe.log.every_kimg):
            record = log.line({**measures, "variety": health.variety(state, self.corpus)})
            if warnings := health.add(record):
                record["warnings"] = warnings
            log.write(record)
        checkpoint = self.checkpoints.follow(progress, state, record)
        if record is not None or checkpoint is not None:
            self.write_status("running")
        log.resume_clock()
        name = "" if self.measurer is None else self.measurer.decisive
        value = value_of(measures, name)
        return Event(
            progress=progress,
            total_images=self.schedule.total_images,
            record=record,
            preview=preview,
            checkpoint=checkpoint,
            measured=None if value is None else (name, value),
            is_best=checkpoint is not None and checkpoint == self.checkpoints.best_path,
            notes=(*measures.get("notes", ()), *((record or {}).get("warnings", ()))),
        )

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
        status = {
            "state": state,
            "exit": exit_code,
            "images_seen": self.state.images_seen,
            "total_images": self.schedule.total_images,
            "last_checkpoint": None if last is None else str(last.relative_to(self.folder)),
        }
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
    recipe = resolved.recipe
    if options.patience is not None and not recipe.measures.every_kimg:
        raise RecipeError(
            "--patience waits for measures, and none are taken\nsay how often: --set measures.every_kimg=10"
        )
    with lock(folder):
        if options.restart and holds_run(folder):
            move_aside(folder)
        if holds_run(folder):
            start = take_up(folder, recipe, inputs, options)
        elif options.resume:
            raise ModelError(f"{folder}: --resume, but there is no run here")
        elif holds_else(folder):
            raise RecipeError(f"{folder}: holds something else than a run; choose another --output")
        else:
            start = begin(recipe, inputs, options)
            folder.mkdir(exist_ok=True)
        run = _opened(folder, resolved, inputs, options, start, bar)
        if run.finished:  # perhaps killed between its last checkpoint and its last word
            run.write_status("finished", 0)
        yield run


def _opened(folder: Path, resolved: Resolved, inputs: Inputs, options: RunOptions, start: Start, bar: Bar) -> Run:
    """The run at `start`; unless it is finished, its pictures are made ready and its recipe is written."""
    recipe, state, corpus = resolved.recipe, start.state, inputs.corpus
    schedule = schedule_of(recipe, first_resolution=first_resolution(inputs.base))
    checkpoints = Checkpoints(folder, schedule, state.images_seen, start.checkpoint)
    run = Run(folder, schedule, state, corpus, iter(()), checkpoints, None, options.patience, start.notes)
    if run.finished:
        return run
    held_out = count = None
    if recipe.measures.every_kimg or recipe.augment == "adaptive" or recipe.apa:
        parts = split(corpus, clusters_in(corpus, cache=cache_folder(), bar=bar), recipe.measures.hold_out, recipe.seed)
        run.corpus, held_out, count = parts.training, parts.held_out, parts.count
        if recipe.measures.every_kimg:
            run.measurer, notes = make_measurer(recipe, parts, state.device, cache_folder(), bar)
            run.notes += tuple(notes)
    if run.measurer is not None:
        checkpoints.judge_by(run.measurer.criterion, state.images_seen)
    for phase in schedule.phases:
        run.corpus.require(phase.batch_size)
    checkpoints.provenance = provenance(
        recipe, options.precision, corpus, held_out=count, base=start.base, base_corpus=inputs.base_corpus
    )
    run.steps = training.run(
        state,
        schedule,
        run.corpus,
        precision=options.precision,
        validation=held_out,
        base_corpus=inputs.base_corpus,
    )
    write_text(folder / RECIPE, dump(resolved), sync=True)
    write_bad(folder, corpus)
    return run
