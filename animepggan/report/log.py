"""log.jsonl: one line an interval, averaged over its steps; the same numbers to TensorBoard where asked for."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from animepggan.errors import RecipeError
from animepggan.training import Progress


def memory_mb() -> float:
    """The most memory that this process has held: on the GPU where one is used, resident otherwise; 10^6 bytes."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return torch.cuda.max_memory_allocated() / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class Log:
    """Appends to `folder`/log.jsonl; lines beyond `images_seen`, of steps that will be taken again, are cut off."""

    def __init__(self, folder: Path, images_seen: int, *, tensorboard: bool) -> None:
        path = folder / "log.jsonl"
        kept = []
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["images_seen"] <= images_seen:
                        kept.append(line)
                except (ValueError, KeyError, TypeError):
                    continue  # a line that a crash cut short
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        partial.replace(path)
        self._file = path.open("a", encoding="utf-8")
        self._writer = _tensorboard_writer(folder, images_seen) if tensorboard else None
        self._steps: list[Progress] = []
        self._seconds = 0.0
        self.resume_clock()

    def resume_clock(self) -> None:
        """Previews and checkpoints are not training time: the next step is counted from here."""
        self._since = time.perf_counter()

    def add(self, progress: Progress, *, due: bool) -> dict[str, Any] | None:
        """Take a step in; with `due`, write and return the line of the steps since the last."""
        self._seconds += time.perf_counter() - self._since
        self._steps.append(progress)
        if not due:
            return None
        steps, moment = self._steps, progress.moment
        generator_losses = [step.loss_generator for step in steps if step.loss_generator is not None]
        record = {
            "images_seen": progress.images_seen,
            "resolution": moment.resolution,
            "phase": moment.phase.name,
            "alpha": round(moment.alpha, 6),
            "loss_discriminator": _mean([step.loss_discriminator for step in steps]),
            "loss_generator": _mean(generator_losses),
            "wasserstein": _mean([step.wasserstein for step in steps]),
            "gradient_penalty": _mean([step.gradient_penalty for step in steps]),
            "drift": _mean([step.drift for step in steps]),
            "learning_rate": moment.learning_rate,
            "images_per_second": round(sum(step.moment.batch_size for step in steps) / max(self._seconds, 1e-9), 2),
            "memory_mb": round(memory_mb(), 1),
        }
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if self._writer is not None:
            for key, value in record.items():
                if isinstance(value, (int, float)):
                    self._writer.add_scalar(key, value, progress.images_seen)
        self._steps, self._seconds = [], 0.0
        return record

    def close(self) -> None:
        """Flush and close the files."""
        self._file.close()
        if self._writer is not None:
            self._writer.close()


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _tensorboard_writer(folder: Path, images_seen: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RecipeError('log.tensorboard needs an extra: pip install "animepggan[report]"') from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=images_seen + 1)
