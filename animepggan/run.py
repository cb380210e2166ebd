"""One run as a whole: its folder, its lock, the loop, and the loop's callers (log, previews, measures, checkpoints).

    runs/NAME/
      recipe.yaml      resolved: every value, where each came from
      status.json      state, exit, images_seen, last_checkpoint; replaced atomically
      log.jsonl        a line an interval, with the measures where some were taken
      bad.jsonl        files that could not be used, and why, where there are any
      previews/        images-000000000.png ...; real.png beside them
      checkpoints/     stage-0004/ ... kept for ever; images-000120512/ in between, the newest N kept;
                       best.json: which one a measure chose, kept as long as it is that

A run in a folder is continued when the recipe and the corpus agree with it. Nothing here prints: `Run.train` yields
what happened, and the command line says it.
"""

from __future__ import annotations

import json
import platform
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import filelock
import numpy as np
import PIL
import safetensors
import torch

import animepggan
from animepggan.bar import Bar, silent
from animepggan.checkpoint import (
    BEST,
    FORMAT,
    RESUME,
    checkpoints_of,
    load_networks,
    read_config,
    read_tensors,
    tidy,
    verify,
    write_folder,
)
from animepggan.corpus import Corpus
from animepggan.corpus.demo.cache import cache_folder
from animepggan.corpus.description import write_lines
from animepggan.errors import BUG, AnimepgganError, BusyError, Interrupted, ModelError, RecipeError, resource_error
from animepggan.metrics.split import Split, clusters_in, split
from animepggan.recipe import Recipe, Resolved, difference, dump, load, schedule_of
from animepggan.report.log import Log, read_log
from animepggan.report.measures import Best, Judge, Standing, judge_of, told, value_of
from animepggan.report.previews import save_preview, save_real
from animepggan.training import Progress, State
from animepggan.training import run as training_run
from animepggan.transfer import Base, anchor, check_alone, check_unmoved, load_base

RECIPE = "recipe.yaml"
STATUS = "status.json"
BAD = "bad.jsonl"
CORPUS_KEY = "data"
"""What `--allow` calls a corpus that changed."""
FREE_KEYS = (
    *("name", "data", "max_bad", "checkpoints.", "previews.", "log."),
    *("measures.every_kimg", "measures.name", "measures.count", "measures.backbone"),
)
"""Values that no tensor depends on: a run may go on with other ones. The pictures count by what they are, not where.

`measures.every_kimg` is one of them as long as it stays 0 or above: it decides whether pictures are held out.
"""


@dataclass(frozen=True)
class Event:
    """A step, and what followed from it."""

    progress: Progress
    record: dict[str, Any] | None  # the line written to log.jsonl
    preview: Path | None
    checkpoint: Path | None
    measured: tuple[str, float] | None = None  # the measure that decides
    is_best: bool = False  # it is the best so far, and `checkpoint` is marked as such
    notes: tuple[str, ...] = ()  # what the user should know


class Stopper:
    """SIGINT and SIGTERM while a run trains: the first is remembered, a second one stops at once."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle both signals for the time of the block (main thread only)."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        # From here on the system itself acts, even in the middle of a long operation of torch.
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, signal.SIG_DFL)


@dataclass(frozen=True)
class Means:
    """By what a run trains; no value of the recipe, so that a run may go on by other means."""

    device: torch.device
    precision: str = "fp32"  # "bf16": convolutions in bfloat16
    reference: bool = False  # by the plain step
    capture: bool = False  # by the fast step as CUDA graphs

    def state(self, recipe: Recipe, resolution: int, base: Base | None) -> State:
        """A fresh one, that comes from `base`."""
        base_resolution = None if base is None else base.resolution
        return State(
            recipe,
            resolution,
            self.device,
            reference=self.reference,
            capture=self.capture,
            base_resolution=base_resolution,
        )


@dataclass(frozen=True)
class Start:
    """Where a run starts or goes on."""

    state: State
    base: dict[str, Any] | None = None  # provenance of the base that it started from
    checkpoint: Path | None = None  # the one it goes on from
    notes: tuple[str, ...] = ()  # what the user should know


class Run:
    """A run folder that this process holds the lock of."""

    def __init__(
        self,
        folder: Path,
        resolved: Resolved,
        corpus: Corpus,
        start: Start,
        precision: str,
        patience: int | None = None,  # measures without a better one after which the run ends
        base_corpus: Corpus | None = None,  # shown among the others while a stage fades in
    ) -> None:
        self.folder = folder
        self.resolved = resolved
        self.recipe = resolved.recipe
        self.corpus = corpus
        self.base_corpus = base_corpus
        self.split: Split | None = None
        self.judge: Judge | None = None
        self.state = start.state
        self.precision = precision
        self.patience = patience
        self.base = start.base
        self.notes = start.notes
        self.last_checkpoint = start.checkpoint
        self.schedule = schedule_of(self.recipe, first_resolution=self.state.base_resolution or 4)
        self.stopper = Stopper()
        self.best = Best.read(folder)
        self.standing: Standing | None = None
        if self.best is not None:  # until a judge says what it measures by
            self.standing = self._replayed(self.best.measure, self.best.backbone, self.best.n)
        self._stopgap = self._off_interval(self.last_checkpoint)

    @property
    def training(self) -> Corpus:
        """The pictures that are trained on: all but those held out."""
        return self.corpus if self.split is None else self.split.training

    @property
    def finished(self) -> bool:
        return self.state.images_seen >= self.schedule.total_images or self.gave_up is not None

    @property
    def gave_up(self) -> str | None:
        """Why the run ended before its last image; None where it did not."""
        if self.patience is None or self.standing is None or self.standing.waited < self.patience:
            return None
        assert self.standing.best is not None
        value, images_seen = value_of(self.standing.best, self.standing.measure), self.standing.best["images_seen"]
        return (
            f"{self.standing.measure} has not improved for {self.standing.waited} measures, since {value:.4g} at "
            f"{images_seen / 1000:g} kimg"
        )

    def prepare(self, bar: Bar = silent) -> None:
        """Hold pictures out, and make ready to measure against them, where the recipe asks for either.

        DataError where there are too few to hold some out.
        """
        if not holds_out(self.recipe):
            return
        clusters = clusters_in(self.corpus, cache=cache_folder(), bar=bar)
        self.split = split(self.corpus, clusters, self.recipe.measures.hold_out, self.recipe.seed)
        if not self.recipe.measures.every_kimg:
            return
        self.judge, notes = judge_of(self.recipe, self.split, self.state.device, cache_folder(), bar)
        self.notes += tuple(notes)
        if self.judge is not None:
            self.standing = self._replayed(self.judge.name, self.judge.features, self.recipe.measures.count)
            self._remark()

    def train(self) -> Iterator[Event]:
        """Train to the end, yielding every step; Interrupted after a signal, once the run is saved."""
        if self.finished:
            return
        for phase in self.schedule.phases:
            self.training.require(phase.batch_size)
        self._write_recipe()
        self._write_bad()
        log = Log(self.folder, self.state.images_seen, tensorboard=self.recipe.log.tensorboard)
        self._status("running")
        try:
            with self.stopper.listening():
                if self.state.images_seen == 0:
                    save_real(self.training, self.state, self.folder)
                    save_preview(self.state, self.folder)
                for progress in training_run(
                    self.state,
                    self.schedule,
                    self.training,
                    precision=self.precision,
                    validation=None if self.split is None else self.split.held_out,
                    base_corpus=self.base_corpus,
                ):
                    yield self._follow(progress, log)
                    if self.finished:
                        break
                    if self.stopper.signal_number is not None:
                        raise self._interrupted(self.stopper.signal_number)
            if self.gave_up is not None:
                self._save_here()
            self._status("finished", exit_code=0)
        except GeneratorExit:
            self._status("interrupted")
            raise
        except BaseException as error:
            ours = error if isinstance(error, AnimepgganError) else resource_error(error)
            state = "interrupted" if isinstance(error, Interrupted) else "failed"
            self._status(state, exit_code=ours.exit_code if ours else BUG)
            raise
        finally:
            log.close()

    def _follow(self, progress: Progress, log: Log) -> Event:
        """What a step brings with it: a log line, a preview, measures, a checkpoint, each at its interval."""
        before, now = progress.moment.images_seen, progress.images_seen
        ended = progress.stage_ended
        record = preview = checkpoint = None
        log.add(progress)
        if ended is not None or crosses(before, now, self.recipe.previews.every_kimg):
            preview = save_preview(self.state, self.folder)
        taken: dict[str, Any] = {}
        if crosses(before, now, self.recipe.measures.every_kimg) or now >= self.schedule.total_images:
            taken = self._measured()
        if taken or ended is not None or crosses(before, now, self.recipe.log.every_kimg):
            record = log.write(taken)
        # The line first: from it a run that is killed here knows what its newest checkpoint is worth.
        is_best = record is not None and self.standing is not None and self.standing.add(record)
        if ended is not None:
            checkpoint = self._write(f"stage-{ended.resolution:04d}")
        elif is_best or crosses(before, now, self.recipe.checkpoints.every_kimg):
            checkpoint = self._write(f"images-{now:09d}")
        if checkpoint is not None:
            if is_best:
                self._mark(checkpoint)
            self._retain()
        if record is not None or checkpoint is not None:
            self._status("running")
        log.resume_clock()
        name = self.standing.measure if self.standing is not None else ""
        value = value_of(taken, name)
        return Event(
            progress,
            record,
            preview,
            checkpoint,
            None if value is None else (name, value),
            is_best,
            tuple(taken.get("notes", ())),
        )

    def _measured(self) -> dict[str, Any]:
        """For the log: the measures of the state as it stands, or what went wrong; empty where none are taken."""
        if self.judge is None:
            return {}
        try:
            taken = self.judge.measure(self.state)
        except Exception as error:  # a run is worth more than a measure
            return {"notes": [f"not measured: {told(error)}"]}
        if value_of(taken, self.judge.name) is None:
            return {**taken, "notes": [f"{self.judge.name} cannot be measured of so few or so small pictures"]}
        return taken

    def _replayed(self, measure: str, features: str | None, count: int) -> Standing:
        """How the run stands by what its log says."""
        standing = Standing(measure, features, count, self.recipe.resolution)
        for record in read_log(self.folder, self.state.images_seen):
            standing.add(record)
        return standing

    def _remark(self) -> None:
        """Let best.json name what is the best by the log: it may not have come to that, or be of another measure."""
        assert self.standing is not None
        at = None if self.standing.best is None else self.standing.best["images_seen"]
        checkpoint = next(
            (each for each in checkpoints_of(self.folder) if read_config(each)["position"]["images_seen"] == at), None
        )
        if checkpoint is not None:
            self._mark(checkpoint)
        elif self.best is not None:
            (self.folder / BEST).unlink(missing_ok=True)
            self.best = None

    def _mark(self, checkpoint: Path) -> None:
        """Say in best.json that this one is the best; what was only kept for having been so goes."""
        assert self.standing is not None
        before, self.best = self.best, self.standing.marks(checkpoint)
        _replace(self.folder / BEST, self.best.text())
        if self._stopgap == checkpoint:
            self._stopgap = None
        if before is not None and before.checkpoint != checkpoint.name:
            only_best = self._off_interval(checkpoint.with_name(before.checkpoint))
            if only_best is not None and only_best != self.last_checkpoint:
                shutil.rmtree(only_best, ignore_errors=True)

    def _interrupted(self, signal_number: int) -> Interrupted:
        newest = self._save_here()
        return Interrupted(
            f"stopped at {self.state.images_seen} images; saved {newest}\nto continue, run the same command again",
            signal_number,
        )

    def _save_here(self) -> Path:
        """A checkpoint of the state as it stands, unless the last one is."""
        newest = self.last_checkpoint
        if newest is None or read_config(newest)["position"]["images_seen"] != self.state.images_seen:
            newest = self._write(f"images-{self.state.images_seen:09d}")
        return newest

    def _retain(self) -> None:
        """Drop what is no longer kept: of those in between all but the newest few, and the best."""
        # One that lies ahead was damaged, and passed over: it must not push out those that are whole.
        between = [
            folder
            for folder in checkpoints_of(self.folder)
            if folder.name.startswith("images-")
            and folder.name <= f"images-{self.state.images_seen:09d}"
            and not self._is_best(folder)
        ]
        for folder in between[: -self.recipe.checkpoints.keep or None]:
            shutil.rmtree(folder)

    def _write(self, name: str) -> Path:
        """Write a checkpoint in the place of one that was only written for a stop, if the run went on from such a one.

        A stop's own neither counts among the newest nor outlives the next: a run that was stopped keeps what it would
        have kept without.
        """
        path = self.folder / "checkpoints" / name
        write_folder(
            path,
            {
                **{role: network.state_dict() for role, network in self.state.networks.items()},
                RESUME: {**self.state.moments(), **self.state.averages()},
            },
            self._config(),
        )
        self.last_checkpoint = path
        if self._stopgap is not None and self._stopgap != path and not self._is_best(self._stopgap):
            shutil.rmtree(self._stopgap)
        self._stopgap = None
        return path

    def _is_best(self, checkpoint: Path) -> bool:
        return self.best is not None and self.best.checkpoint == checkpoint.name

    def _off_interval(self, checkpoint: Path | None) -> Path | None:
        """`checkpoint`, where it was only written because the run was stopped there, or was the best there."""
        if checkpoint is None or not checkpoint.name.startswith("images-"):
            return None
        now = int(checkpoint.name.removeprefix("images-"))
        before = now - self.schedule.at(now - 1).batch_size
        return None if crosses(before, now, self.recipe.checkpoints.every_kimg) else checkpoint

    def _config(self) -> dict[str, Any]:
        moment = self.schedule.at(max(0, self.state.images_seen - 1))
        return {
            "format": FORMAT,
            "architecture": self.state.architecture,
            "position": {
                "images_seen": self.state.images_seen,
                "total_images": self.schedule.total_images,
                "resolution": self.state.resolution,
                "phase": moment.phase.name,
                "alpha": self.state.alpha,
            },
            "provenance": {
                "name": self.recipe.name,
                "base": self.base,
                "recipe": self.recipe.model_dump(mode="json"),
                "precision": self.precision,
                "corpus": {
                    "spec": self.corpus.spec,
                    "commit": self.corpus.commit,
                    "pictures": len(self.corpus.names),
                    "clusters": len(self.corpus),
                    "distinct": self.corpus.distinct,
                    "fingerprint": self.corpus.fingerprint,
                    "held_out": None if self.split is None else self.split.count,
                    "extend_fingerprint": None if self.base_corpus is None else self.base_corpus.fingerprint,
                },
                "versions": {
                    "animepggan": animepggan.__version__,
                    "python": platform.python_version(),
                    "torch": torch.__version__,
                    "numpy": np.__version__,
                    "pillow": PIL.__version__,
                    "safetensors": safetensors.__version__,
                },
                "saved_at": datetime.now(UTC).isoformat(timespec="microseconds"),
            },
        }

    def _write_recipe(self) -> None:
        _replace(self.folder / RECIPE, dump(self.resolved))

    def _write_bad(self) -> None:
        kinds = (("bad", self.corpus.bad), ("skipped", self.corpus.skipped))
        listed = [
            {"name": bad.name, "kind": kind, "reason": bad.reason}
            for kind, left_out in kinds
            for bad in left_out
            if not bad.by_choice
        ]
        if listed:
            write_lines(self.folder / BAD, listed)
        else:
            (self.folder / BAD).unlink(missing_ok=True)

    def _status(self, state: str, exit_code: int | None = None) -> None:
        status = {
            "state": state,
            "exit": exit_code,
            "images_seen": self.state.images_seen,
            "total_images": self.schedule.total_images,
            "last_checkpoint": (
                str(self.last_checkpoint.relative_to(self.folder)) if self.last_checkpoint is not None else None
            ),
        }
        if state == "finished" and self.gave_up is not None:
            status["reason"] = self.gave_up
        try:
            _replace(self.folder / STATUS, json.dumps(status, indent=2) + "\n")
        except OSError:
            # A full disk must not hide the error that is being reported.
            if state == "running":
                raise


def holds_out(recipe: Recipe) -> bool:
    """Whether some pictures are kept from training: to measure against, or for what compares with them."""
    return recipe.measures.every_kimg > 0 or recipe.augment == "adaptive" or recipe.apa


def first_resolution(base: Base | None) -> int:
    """Where a run starts: 4, or with a base at its resolution."""
    return 4 if base is None else base.resolution


def crosses(before: int, now: int, every_kimg: float) -> bool:
    """Whether a multiple of `every_kimg` thousand images lies in (before, now], however often the run stopped."""
    every = every_kimg * 1000
    return every > 0 and now // every > before // every


@contextmanager
def open_run(
    folder: Path,
    resolved: Resolved,
    corpus: Corpus,
    *,
    device: torch.device,
    precision: str = "fp32",
    reference: bool = False,
    capture: bool = False,
    base: Base | None = None,
    base_corpus: Corpus | None = None,  # of extend_data, at the recipe's resolution
    resume: bool = False,  # there must be a run to go on from
    restart: bool = False,  # a run in the folder is moved aside
    allow: Sequence[str] = (),  # keys that may differ from the run in the folder
    patience: int | None = None,  # measures without a better one after which the run ends
    bar: Bar = silent,
) -> Iterator[Run]:
    """Lock `folder`, then start a run in it or take up the one that is there, at its newest whole checkpoint.

    BusyError where another process holds the lock; ModelError where the recipe or the corpus is not the run's, or no
    checkpoint of it can be read; RecipeError where the folder holds something else, or `patience` nothing to wait for.
    """
    if patience is not None and not resolved.recipe.measures.every_kimg:
        raise RecipeError(
            "--patience waits for measures, and none are taken\nsay how often: --set measures.every_kimg=10"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    means = Means(device, precision, reference, capture)
    # Beside the folder, not in it: the folder itself may be moved aside.
    place = folder.resolve()
    lock = filelock.FileLock(place.with_name(f".{place.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise BusyError(
            f"{folder}: another process is training here; wait for it, or choose another --output"
        ) from None
    try:
        if restart and (folder / RECIPE).is_file():
            if folder.name in ("", "..") or Path.cwd().is_relative_to(place):
                raise RecipeError(f"{folder}: --restart cannot move the folder aside that you are in; go one up")
            folder.rename(_aside(folder))
        if (folder / RECIPE).is_file():
            tidy(folder / "checkpoints")
            start = _take_up(folder, resolved.recipe, corpus, means, base, base_corpus, allow)
        elif resume:
            raise ModelError(f"{folder}: --resume, but there is no run here")
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RecipeError(f"{folder}: holds something else than a run; choose another --output")
        else:
            start = _begin(resolved.recipe, means, base)
            folder.mkdir(exist_ok=True)
        run = Run(folder, resolved, corpus, start, precision, patience, base_corpus)
        if not run.finished:
            run.prepare(bar)
        if run.finished:  # perhaps killed between its last checkpoint and its last word
            run._status("finished", exit_code=0)
        yield run
    finally:
        lock.release()


def _aside(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    return aside


def _begin(recipe: Recipe, means: Means, base: Base | None) -> Start:
    """A run's first moment: fresh networks, or the base's."""
    state = means.state(recipe, first_resolution(base), base)
    if base is None:
        check_alone(recipe)
        return Start(state)
    load_base(state, base)
    return Start(state, base.provenance)


def _take_up(
    folder: Path,
    recipe: Recipe,
    corpus: Corpus,
    means: Means,
    base: Base | None,
    base_corpus: Corpus | None,
    allow: Sequence[str],
) -> Start:
    """The newest whole checkpoint of the run in `folder`, or the run's first moment when it has none yet.

    The notes name checkpoints that were passed over because they are damaged, and a precision that changed.
    """
    changed = [
        (key, old, new)
        for key, old, new in difference(load(folder / RECIPE).recipe, recipe)
        if not _is_free(key, old, new) and not any(key == name or key.startswith(f"{name}.") for name in allow)
    ]
    others = "--restart starts anew (the old run is moved aside), --output names another folder"
    if changed:
        listed = "; ".join(f"{key}: {old} there, {new} now" for key, old, new in changed)
        allowed = " ".join(f"--allow {key}" for key, _, _ in changed)
        raise ModelError(f"{folder}: holds a run of another recipe: {listed}\n{allowed} goes on all the same, {others}")
    damaged: list[ModelError] = []
    readable: list[tuple[Path, dict[str, Any]]] = []
    for checkpoint in reversed(checkpoints_of(folder)):
        try:
            readable.append((checkpoint, read_config(checkpoint)))
        except ModelError as error:
            damaged.append(error)
    for checkpoint, config in readable:
        try:
            verify(checkpoint)
            state = _restore(recipe, means, checkpoint, config, base)
        except ModelError as error:
            damaged.append(error)
            continue
        provenance = config.get("provenance") or {}
        known = provenance.get("corpus") or {}
        for key, pictures in (("fingerprint", corpus), ("extend_fingerprint", base_corpus)):
            if pictures is not None and known.get(key) != pictures.fingerprint and CORPUS_KEY not in allow:
                raise ModelError(
                    f"{folder}: the pictures of {pictures.spec} are not the ones that this run was trained on\n"
                    f"--allow {CORPUS_KEY} goes on all the same, {others}"
                )
        schedule = schedule_of(recipe, first_resolution=first_resolution(base))
        resolution = schedule.at(state.images_seen).resolution
        if not state.resolution <= resolution <= 2 * state.resolution:
            raise ModelError(
                f"{folder}: has come to {state.resolution} px with {state.images_seen} images, where this recipe is at "
                f"{resolution} px\ngive the schedule that it had, or {others}"
            )
        if base is not None:
            if (recipe.l2sp or recipe.extend) and "base" not in allow:
                check_unmoved(base, provenance.get("base") or {})
            if recipe.l2sp:
                anchor(state, load_networks(base.found.path))
        notes = tuple(f"{error}; going on from {checkpoint.name}" for error in damaged)
        before = provenance.get("precision", means.precision)
        if before != means.precision:
            notes += (f"{folder}: trained in {before} so far, goes on in {means.precision}",)
        return Start(state, provenance.get("base"), checkpoint, notes)
    if damaged:
        raise ModelError(f"{damaged[0]}\nno checkpoint of this run can be read; {others}")
    return _begin(recipe, means, base)


def _is_free(key: str, old: object, new: object) -> bool:
    if key == "measures.every_kimg" and bool(old) != bool(new):
        return False
    return key.startswith(FREE_KEYS)


def _restore(recipe: Recipe, means: Means, checkpoint: Path, config: dict[str, Any], base: Base | None) -> State:
    """The state that `save` wrote; ModelError where it is damaged or of another architecture than the recipe's."""
    position = config["position"]
    state = means.state(recipe, config["architecture"]["resolution"], base)
    for role, network in load_networks(checkpoint).items():
        try:
            state.networks[role].load_state_dict(network.state_dict())
        except RuntimeError as error:
            raise ModelError(f"{checkpoint / role}.safetensors: is not of this recipe's architecture") from error
    file = checkpoint / f"{RESUME}.safetensors"
    kept = read_tensors(file)
    state.load_averages(kept)
    try:
        state.load_moments(kept)
    except ValueError as error:
        raise ModelError(f"{file}: damaged: {error}") from error
    state.images_seen = position["images_seen"]
    state.alpha = float(position["alpha"])
    return state


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
