"""The checkpoints of a run: written, the newest few and the best kept, the best named in best.json.

    checkpoints/
      stage-0004/ ...         the end of each stage, kept for ever
      images-000120512/ ...   in between, the newest N kept; one that was only saved because the run stopped there, or
                              because it was the best, goes once another is saved
      best.json               which one a measure chose, kept as long as it is that

One that the run went back to, when it had gone wrong, is kept for ever; those after it go.

What a checkpoint was saved for and what was measured there stand in its own config.json: best.json is only for others
to read, and no damage to it or to the log loses a checkpoint.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
import safetensors
import torch

import animepggan
from animepggan.checkpoint import (
    BEST,
    FORMAT,
    RESUME,
    checkpoints_of,
    discard,
    position_of,
    read_config,
    without_place,
    write_folder,
)
from animepggan.corpus import Corpus
from animepggan.disk import write_json
from animepggan.errors import ModelError
from animepggan.recipe import Recipe
from animepggan.report.log import read_log
from animepggan.report.measures import CONDITIONS, KEYS, BestSoFar, Criterion
from animepggan.run.returns import Return
from animepggan.schedule import Schedule
from animepggan.training import Progress, State

Purpose = Literal["stage", "interval", "best", "stop"]
PASSING = ("best", "stop")
"""Purposes that a checkpoint is kept for only until the next is saved, or another is the best."""


class Checkpoints:
    """Those of a run that stands at `images_seen`."""

    def __init__(
        self,
        run: Path,  # its folder
        schedule: Schedule,
        images_seen: int,
        last: Path | None,  # the one that the run goes on from
        returns: tuple[Return, ...] = (),  # so far
    ) -> None:
        self.run, self.schedule, self.last, self.returns = run, schedule, last, returns
        self.returned_to = {run / "checkpoints" / each.checkpoint for each in returns if each.checkpoint}
        self.provenance: dict[str, Any] = {}  # as `provenance` makes it; to be set before one is saved
        self.best: BestSoFar | None = None  # None where nothing was measured
        self.best_path: Path | None = None
        known = list(self._known(images_seen))
        passing = {path for path, config in known if config.get("saved_for") in PASSING}
        self.passing = passing - self.returned_to
        if measured := [config["measures"] for _, config in known if isinstance(config.get("measures"), dict)]:
            newest = measured[-1]  # until `judge_by` is told otherwise
            self.judge_by(Criterion(str(newest.get("decisive")), newest.get("features"), newest.get("n")), images_seen)

    def judge_by(self, criterion: Criterion, images_seen: int) -> None:
        """Find the best one so far by `criterion`, and let best.json name it."""
        last_resolution = self.schedule.stages[-1].resolution
        self.best, self.best_path = BestSoFar(criterion, last_resolution), None
        for path, config in self._known(images_seen):
            measures = config.get("measures")
            if isinstance(measures, dict) and self.best.add({**config["position"], **measures}):
                self.best_path = path
        by_log = BestSoFar(criterion, last_resolution)
        for record in read_log(self.run, images_seen):
            by_log.add(record)
        self.best.mark, self.best.waited = by_log.mark, by_log.waited
        if self.best_path is not None:
            self._write_best()
        elif all(position_of(path) >= 0 for path in checkpoints_of(self.run)):  # else a damaged one may be it
            (self.run / BEST).unlink(missing_ok=True)

    def follow(self, progress: Progress, state: State, record: dict[str, Any] | None) -> Path | None:
        """Save the state after a step if that is due: at the end of a stage, at every interval, and where its measures
        are the best so far. `record` is the step's line of the log, where it has one.
        """
        is_best = record is not None and self.best is not None and self.best.add(record)
        if progress.stage_ended is not None:
            return self._write(state, "stage", record, is_best)
        if crosses(progress, state.recipe.checkpoints.every_kimg):
            return self._write(state, "interval", record, is_best)
        return self._write(state, "best", record, is_best) if is_best else None

    def save_here(self, state: State) -> Path:
        """The checkpoint of the state as it stands, saved now unless the last one is."""
        if self.last is not None and position_of(self.last) == state.images_seen:
            return self.last
        return self._write(state, "stop", None, is_best=False)

    def _write(self, state: State, purpose: Purpose, record: dict[str, Any] | None, is_best: bool) -> Path:
        """Save the state, then drop what is no longer kept."""
        name = f"stage-{state.resolution:04d}" if purpose == "stage" else f"images-{state.images_seen:09d}"
        path = self.run / "checkpoints" / name
        tensors = {role: network.state_dict() for role, network in state.networks.items()}
        moments = {**state.moments(), **state.methods.tensors()}
        write_folder(path, {**tensors, RESUME: moments}, self._config(state, purpose, record))
        self.last = path
        if is_best:
            self.best_path = path
            self._write_best()
        for passing in self.passing - {path, self.best_path}:
            discard(passing)
        self.passing &= {self.best_path}
        if purpose in PASSING:
            self.passing.add(path)
        between = [
            each
            for each in checkpoints_of(self.run)
            # One that lies ahead was damaged, and passed over: it must not push out those that are whole.
            if each.name.startswith("images-") and 0 <= position_of(each) <= state.images_seen
            if each not in self.passing | self.returned_to and each != self.best_path
        ]
        for each in between[: -state.recipe.checkpoints.keep]:
            discard(each)
        return path

    def _known(self, images_seen: int) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Checkpoints and their config.json, oldest first, up to `images_seen`; those damaged are passed over."""
        for path in checkpoints_of(self.run):
            try:
                config = read_config(path)
            except ModelError:
                continue
            if config["position"]["images_seen"] <= images_seen:
                yield path, config

    def _config(self, state: State, purpose: Purpose, record: dict[str, Any] | None) -> dict[str, Any]:
        """What config.json says."""
        measures = None
        if record is not None and self.best is not None and self.best.criterion.value(record) is not None:
            taken = {key: record[key] for key in (*KEYS, *CONDITIONS) if key in record}
            measures = {"decisive": self.best.criterion.measure, **taken}
        return {
            "format": FORMAT,
            "architecture": state.architecture,
            "position": {
                "images_seen": state.images_seen,
                "total_images": self.schedule.total_images,
                "resolution": state.resolution,
                "phase": self.schedule.at(max(0, state.images_seen - 1)).phase.name,
                "alpha": state.alpha,
                **({"returns": [each.as_json() for each in self.returns]} if self.returns else {}),
            },
            "saved_for": purpose,
            "measures": measures,
            "provenance": {**self.provenance, "saved_at": datetime.now(UTC).isoformat(timespec="microseconds")},
        }

    def _write_best(self) -> None:
        assert self.best is not None
        assert self.best.record is not None
        assert self.best_path is not None
        record = self.best.record
        told = {
            "checkpoint": self.best_path.name,
            "measure": self.best.criterion.measure,
            "value": self.best.value,
            "images_seen": record["images_seen"],
            "backbone": self.best.criterion.features,
            **{key: record.get(key) for key in ("reference", "n", "seed")},
        }
        write_json(self.run / BEST, told, sync=True)


def crosses(progress: Progress, every_kimg: float) -> bool:
    """Whether a multiple of `every_kimg` thousand images was passed in the step, however often the run stopped."""
    every = every_kimg * 1000
    return every > 0 and progress.images_seen // every > progress.moment.images_seen // every


def without_places(recipe: Recipe) -> Recipe:
    """The recipe as a checkpoint tells it: with no path of this machine."""
    places = {key: getattr(recipe, key) for key in ("data", "base", "extend_data")}
    told: dict[str, object] = {key: without_place(value) for key, value in places.items() if value is not None}
    if recipe.measures.backbone is not None:
        backbone = without_place(recipe.measures.backbone)
        told["measures"] = recipe.measures.model_copy(update={"backbone": backbone})
    return recipe.model_copy(update=told)


def provenance(
    recipe: Recipe,
    precision: str,
    corpus: Corpus,
    *,
    held_out: int | None,  # clusters of `corpus` that are not trained on
    base: dict[str, Any] | None,
    base_corpus: Corpus | None,
) -> dict[str, Any]:
    """How the checkpoints of a run were made, as their config.json tells it."""
    return {
        "name": recipe.name,
        "base": base,
        "recipe": without_places(recipe).model_dump(mode="json"),
        "precision": precision,
        "corpus": {
            "spec": without_place(corpus.spec),
            "commit": corpus.commit,
            "pictures": len(corpus.names),
            "clusters": len(corpus),
            "distinct": corpus.distinct,
            "fingerprint": corpus.fingerprint,
            "held_out": held_out,
            "extend_fingerprint": None if base_corpus is None else base_corpus.fingerprint,
        },
        "versions": {
            "animepggan": animepggan.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
            "safetensors": safetensors.__version__,
        },
    }
