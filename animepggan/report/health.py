"""Notice when a run goes wrong, from the lines of its log: what to warn of, and the variety of what it draws.

A rate too high for the set shows in the log before it shows in a measure: the gradient penalty or the scores are many
times what they were, or every latent gives the same picture. The run goes on; a person decides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor

from animepggan.corpus import Corpus
from animepggan.streams import stream
from animepggan.training import State

PICTURES = 16
"""Drawn, and real ones, whose variety is compared."""
CHUNK_PIXELS = 1 << 16
LINES, FIRST = 16, 3
"""Lines of the log that a running median goes over, and how many there must be before it says anything."""
TIMES = 10.0
"""Times its running median: a penalty or a score is out of bounds."""
LEAST = {"gradient_penalty": 5.0, "wasserstein": 30.0}
"""Whatever the median, a number below this is no cause for alarm."""
VARIETY = 0.25
"""Of the variety of real pictures: below it the drawn ones are one picture."""

LABELS = {"gradient_penalty": "the gradient penalty", "wasserstein": "the distance of the scores"}
ADVICE = "the learning rate may be too high: look at previews/, and see --set schedule.learning_rate=LOWER"


class Health:
    """What the lines of the log so far say of the run's health; made of them alone, so a resumed run says the same."""

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self._before: dict[str, deque[float]] = {key: deque(maxlen=LINES) for key in LEAST}
        self._ill: set[str] = set()  # what has been warned of, and has not been well since
        self._resolution: int | None = None
        for record in records:
            self.add(record)

    def add(self, record: Mapping[str, Any]) -> list[str]:
        """Take in the next line of the log; warnings, a line each, of what is wrong since this one."""
        if record.get("resolution") != self._resolution:  # a new stage has other scores and penalties
            self._resolution = record.get("resolution")
            for values in self._before.values():
                values.clear()
        wrong = {}
        for key, before in self._before.items():
            value = abs(record.get(key) or 0.0)
            if len(before) >= FIRST:
                usual = median(before)
                if value > max(LEAST[key], TIMES * usual):
                    wrong[key] = f"{LABELS[key]} is {value:.3g}, where it was {usual:.3g}"
            before.append(value)
        variety = record.get("variety")
        if variety is not None and variety < VARIETY:
            wrong["variety"] = f"the pictures drawn are nearly one: they differ {variety:.0%} as much as real ones"
        at = f"{record.get('images_seen', 0) / 1000:g} kimg"
        warnings = [f"{at}: {told}; {ADVICE}" for key, told in wrong.items() if key not in self._ill]
        self._ill = set(wrong)
        return warnings


@torch.no_grad()
def variety(state: State, corpus: Corpus) -> float | None:
    """How much pictures drawn from a few fixed latents differ from one another, relative to real ones; None where those
    do not differ.
    """
    latents = torch.randn(PICTURES, state.recipe.latent_dim, generator=stream("previews", state.recipe.seed))
    few = max(1, CHUNK_PIXELS // state.resolution**2)
    drawn = [
        state.generator(chunk.to(state.device), state.alpha).clamp(-1, 1).cpu() for chunk in torch.split(latents, few)
    ]
    recipe = state.recipe
    real = corpus.batch(0, PICTURES, resolution=state.resolution, seed=recipe.seed, mirror=recipe.mirror)
    differing = spread(real)
    return round(spread(torch.cat(drawn)) / differing, 4) if differing else None


def spread(pictures: Tensor) -> float:
    """Root mean square of what pictures [n, 3, h, w] differ from their mean."""
    return pictures.float().var(dim=0, correction=0).mean().sqrt().item()
