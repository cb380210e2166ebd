"""One run as a whole: its folder, its lock, the loop, and the loop's callers (log, previews, checkpoints).

    runs/NAME/
      recipe.yaml      resolved: every value, where each came from
      status.json      state, exit, images_seen, last_checkpoint; replaced atomically
      log.jsonl        a line an interval
      bad.jsonl        files that could not be used, and why, where there are any
      previews/        images-000000000.png ...; real.png beside them
      checkpoints/     stage-0004/ ... kept for ever; images-000120512/ in between, the newest N kept

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
from animepggan.checkpoint import (
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
from animepggan.corpus.description import write_lines
from animepggan.errors import BUG, AnimepgganError, BusyError, Interrupted, ModelError, RecipeError, resource_error
from animepggan.recipe import Recipe, Resolved, difference, dump, load, schedule_of
from animepggan.report.log import Log
from animepggan.report.previews import save_preview, save_real
from animepggan.training import Progress, State
from animepggan.training import run as training_run
from animepggan.transfer import Base, load_base

RECIPE = "recipe.yaml"
STATUS = "status.json"
BAD = "bad.jsonl"
CORPUS_KEY = "data"
"""What `--allow` calls a corpus that changed."""
FREE_KEYS = ("name", "data", "max_bad", "checkpoints.", "previews.", "log.")
"""Values that no tensor depends on: a run may go on with other ones. The pictures count by what they are, not where."""


@dataclass(frozen=True)
class Event:
    """A step, and what followed from it."""

    progress: Progress
    record: dict[str, Any] | None  # the line written to log.jsonl
    preview: Path | None
    checkpoint: Path | None


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

    def state(self, recipe: Recipe, resolution: int) -> State:
        """A fresh one."""
        return State(recipe, resolution, self.device, reference=self.reference)


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
    ) -> None:
        self.folder = folder
        self.resolved = resolved
        self.recipe = resolved.recipe
        self.corpus = corpus
        self.state = start.state
        self.precision = precision
        self.base = start.base
        self.notes = start.notes
        self.last_checkpoint = start.checkpoint
        self.schedule = schedule_of(self.recipe, first_resolution=first_resolution(self.recipe))
        self.stopper = Stopper()
        self._stopgap = self.last_checkpoint if self._off_interval() else None

    @property
    def finished(self) -> bool:
        return self.state.images_seen >= self.schedule.total_images

    def train(self) -> Iterator[Event]:
        """Train to the end, yielding every step; Interrupted after a signal, once the run is saved."""
        for phase in self.schedule.phases:
            self.corpus.require(phase.batch_size)
        self._write_recipe()
        self._write_bad()
        log = Log(self.folder, self.state.images_seen, tensorboard=self.recipe.log.tensorboard)
        self._status("running")
        try:
            with self.stopper.listening():
                if self.state.images_seen == 0:
                    save_real(self.corpus, self.state, self.folder)
                    save_preview(self.state, self.folder)
                for progress in training_run(self.state, self.schedule, self.corpus, precision=self.precision):
                    yield self._follow(progress, log)
                    if self.stopper.signal_number is not None and not self.finished:
                        raise self._interrupted(self.stopper.signal_number)
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
        """What a step brings with it: a log line, a preview, a checkpoint, each at its interval."""
        before, now = progress.moment.images_seen, progress.images_seen
        ended = progress.stage_ended
        checkpoint = preview = None
        record = log.add(progress, due=crosses(before, now, self.recipe.log.every_kimg) or ended is not None)
        if ended is not None or crosses(before, now, self.recipe.previews.every_kimg):
            preview = save_preview(self.state, self.folder)
        if ended is not None:
            checkpoint = self.save(f"stage-{ended.resolution:04d}")
        elif crosses(before, now, self.recipe.checkpoints.every_kimg):
            checkpoint = self.save(f"images-{now:09d}")
        if record is not None or checkpoint is not None:
            self._status("running")
        log.resume_clock()
        return Event(progress, record, preview, checkpoint)

    def _interrupted(self, signal_number: int) -> Interrupted:
        name = f"images-{self.state.images_seen:09d}"
        newest = self.last_checkpoint
        if newest is None or read_config(newest)["position"]["images_seen"] != self.state.images_seen:
            newest = self._write(name)
        return Interrupted(
            f"stopped at {self.state.images_seen} images; saved {newest}\nto continue, run the same command again",
            signal_number,
        )

    def save(self, name: str) -> Path:
        """Write a checkpoint of the state as it stands, then drop what retention no longer keeps."""
        path = self._write(name)
        # One that lies ahead was damaged, and passed over: it must not push out those that are whole.
        between = [
            folder
            for folder in checkpoints_of(self.folder)
            if folder.name.startswith("images-") and folder.name <= f"images-{self.state.images_seen:09d}"
        ]
        for folder in between[: -self.recipe.checkpoints.keep or None]:
            shutil.rmtree(folder)
        return path

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
                RESUME: self.state.moments(),
            },
            self._config(),
        )
        self.last_checkpoint = path
        if self._stopgap is not None and self._stopgap != path:
            shutil.rmtree(self._stopgap)
        self._stopgap = None
        return path

    def _off_interval(self) -> bool:
        """Whether the checkpoint that the run goes on from was only written because it was stopped there."""
        if self.last_checkpoint is None or not self.last_checkpoint.name.startswith("images-"):
            return False
        now = self.state.images_seen
        before = now - self.schedule.at(now - 1).batch_size
        return not crosses(before, now, self.recipe.checkpoints.every_kimg)

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
        try:
            _replace(self.folder / STATUS, json.dumps(status, indent=2) + "\n")
        except OSError:
            # A full disk must not hide the error that is being reported.
            if state == "running":
                raise


def first_resolution(recipe: Recipe) -> int:
    """Where a run starts: 4, or with a base at its resolution, which the recipe then has too."""
    return 4 if recipe.base is None else recipe.resolution


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
    base: Base | None = None,
    resume: bool = False,  # there must be a run to go on from
    restart: bool = False,  # a run in the folder is moved aside
    allow: Sequence[str] = (),  # keys that may differ from the run in the folder
) -> Iterator[Run]:
    """Lock `folder`, then start a run in it or take up the one that is there, at its newest whole checkpoint.

    BusyError where another process holds the lock; ModelError where the recipe or the corpus is not the run's, or no
    checkpoint of it can be read; RecipeError where the folder holds something else.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    means = Means(device, precision, reference)
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
            start = _take_up(folder, resolved.recipe, corpus, means, base, allow)
        elif resume:
            raise ModelError(f"{folder}: --resume, but there is no run here")
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RecipeError(f"{folder}: holds something else than a run; choose another --output")
        else:
            start = _begin(resolved.recipe, means, base)
            folder.mkdir(exist_ok=True)
        run = Run(folder, resolved, corpus, start, precision)
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
    state = means.state(recipe, first_resolution(recipe))
    if base is None:
        return Start(state)
    load_base(state, base)
    return Start(state, base.provenance)


def _take_up(
    folder: Path, recipe: Recipe, corpus: Corpus, means: Means, base: Base | None, allow: Sequence[str]
) -> Start:
    """The newest whole checkpoint of the run in `folder`, or the run's first moment when it has none yet.

    The notes name checkpoints that were passed over because they are damaged, and a precision that changed.
    """
    changed = [
        (key, old, new)
        for key, old, new in difference(load(folder / RECIPE).recipe, recipe)
        if not key.startswith(FREE_KEYS) and not any(key == name or key.startswith(f"{name}.") for name in allow)
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
            state = _restore(recipe, means, checkpoint, config)
        except ModelError as error:
            damaged.append(error)
            continue
        provenance = config.get("provenance") or {}
        if (provenance.get("corpus") or {}).get("fingerprint") != corpus.fingerprint and CORPUS_KEY not in allow:
            raise ModelError(
                f"{folder}: the pictures of {corpus.spec} are not the ones that this run was trained on\n"
                f"--allow {CORPUS_KEY} goes on all the same, {others}"
            )
        schedule = schedule_of(recipe, first_resolution=first_resolution(recipe))
        resolution = schedule.at(state.images_seen).resolution
        if not state.resolution <= resolution <= 2 * state.resolution:
            raise ModelError(
                f"{folder}: has come to {state.resolution} px with {state.images_seen} images, where this recipe is at "
                f"{resolution} px\ngive the schedule that it had, or {others}"
            )
        notes = tuple(f"{error}; going on from {checkpoint.name}" for error in damaged)
        before = provenance.get("precision", means.precision)
        if before != means.precision:
            notes += (f"{folder}: trained in {before} so far, goes on in {means.precision}",)
        return Start(state, provenance.get("base"), checkpoint, notes)
    if damaged:
        raise ModelError(f"{damaged[0]}\nno checkpoint of this run can be read; {others}")
    return _begin(recipe, means, base)


def _restore(recipe: Recipe, means: Means, checkpoint: Path, config: dict[str, Any]) -> State:
    """The state that `save` wrote; ModelError where it is damaged or of another architecture than the recipe's."""
    position = config["position"]
    state = means.state(recipe, config["architecture"]["resolution"])
    for role, network in load_networks(checkpoint).items():
        try:
            state.networks[role].load_state_dict(network.state_dict())
        except RuntimeError as error:
            raise ModelError(f"{checkpoint / role}.safetensors: is not of this recipe's architecture") from error
    file = checkpoint / f"{RESUME}.safetensors"
    try:
        state.load_moments(read_tensors(file))
    except ValueError as error:
        raise ModelError(f"{file}: damaged: {error}") from error
    state.images_seen = position["images_seen"]
    state.alpha = float(position["alpha"])
    return state


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
