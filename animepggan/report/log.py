"""log.jsonl: one line an interval, averaged over its steps; the same numbers to TensorBoard where asked for."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

from animepggan.disk import sync, write_text
from animepggan.errors import RecipeError
from animepggan.training import Progress
from animepggan.training.estimate import peak_memory

log = logging.getLogger(__name__)

MEANS = ("loss_discriminator", "loss_generator", "wasserstein", "gradient_penalty", "drift")


def read_log(folder: Path, images_seen: int) -> list[dict[str, Any]]:
    """The lines of `folder`/log.jsonl up to `images_seen`; those that are damaged, as by a crash, are passed over."""
    path = folder / "log.jsonl"
    kept: list[dict[str, Any]] = []
    for line in path.read_bytes().split(b"\n") if path.is_file() else ():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        seen = record.get("images_seen") if isinstance(record, dict) else None
        if isinstance(seen, int) and seen <= images_seen:
            kept.append(record)
    return kept


class Log:
    """Appends to `folder`/log.jsonl; lines beyond `images_seen`, of steps that will be taken again, are cut off."""

    def __init__(self, folder: Path, images_seen: int, *, tensorboard: bool) -> None:
        path = folder / "log.jsonl"
        write_text(path, "".join(json.dumps(record) + "\n" for record in read_log(folder, images_seen)))
        self._file = path.open("ab", buffering=0)
        self._torn = False
        self._writer = _tensorboard_writer(folder, images_seen) if tensorboard else None
        self._steps: list[Progress] = []
        self._seconds: list[float] = []  # of these steps
        self.resume_clock()

    def resume_clock(self) -> None:
        """Previews, measures and checkpoints are not training time: the next step is counted from here."""
        self._since = time.perf_counter()

    def add(self, progress: Progress) -> None:
        """Take a step in, and stop the clock."""
        self._seconds.append(time.perf_counter() - self._since)
        self._steps.append(progress)

    @property
    def seconds_per_image(self) -> float:
        """Of a usual step since the last line: the first ones of a process are slower."""
        return median(self._seconds) / self._steps[-1].moment.batch_size

    def line(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """The line of the steps since the last, with `more` in it; `memory_mb` is the most memory held so far, on a GPU
        where one is used.
        """
        steps = self._steps
        progress, moment = steps[-1], steps[-1].moment
        self._steps, seconds, self._seconds = [], sum(self._seconds), []
        on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        return {
            "images_seen": progress.images_seen,
            "resolution": moment.resolution,
            "phase": moment.phase.name,
            "alpha": round(moment.alpha, 6),
            **{key: _mean([getattr(step, key) for step in steps]) for key in MEANS},
            "learning_rate": moment.learning_rate,
            "images_per_second": round(sum(step.moment.batch_size for step in steps) / max(seconds, 1e-9), 2),
            "memory_mb": round(peak_memory(torch.device("cuda" if on_gpu else "cpu")) / 1e6, 1),
            **progress.methods,
            **more,
        }

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a line; it is on the disk when this returns, since a checkpoint that follows may rely on it.

        A line that cannot be written is lost, with a warning: the run is worth more.
        """
        try:
            self._file.write(b"\n" * self._torn + json.dumps(record).encode() + b"\n")
            self._torn = False
            sync(self._file.fileno())
        except OSError as error:
            self._torn = True
            log.warning("%s: a line is lost: %s", self._file.name, error.strerror or error)
        if self._writer is not None:
            for key, value in _scalars(record):
                self._writer.add_scalar(key, value, record["images_seen"])

    def close(self) -> None:
        """Flush and close the files."""
        self._file.close()
        if self._writer is not None:
            self._writer.close()


def _scalars(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number, those of a map named `map/key`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)):
            yield prefix + key, value


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]  # of a step without the generator's, its loss is None
    return sum(known) / len(known) if known else None


def _tensorboard_writer(folder: Path, images_seen: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RecipeError('log.tensorboard needs an extra: pip install "animepggan[report]"') from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=images_seen + 1)
