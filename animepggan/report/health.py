"""Notice when a run goes wrong, from the lines of its log: what to warn of, and the variety of what it draws.

Too high a learning rate shows in the log long before anyone looks at the previews: the gradient penalty or the scores
are many times what they were, the penalty outgrows what it is paid for, or every latent gives the same picture. Then
the run goes back (`run.returns`), where its recipe says so; else it goes on, and its user decides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor

from animepggan.corpus import Corpus
from animepggan.recipe import Recipe
from animepggan.report.measures import value_of
from animepggan.streams import stream
from animepggan.training import State

COMPARED = 16  # so many drawn pictures are compared with so many real ones
CHUNK_PIXELS = 1 << 16
LINES = 16  # lines of the log that a running median goes over
FEW = 3  # lines that a median needs at least, and those in which a penalty outgrows the scores
MARGIN = 6  # lines before a fault is noticed in which it may have begun
WELL = 4  # lines in a row without a fault after which it may be warned of again
TIMES = 10.0  # a number is out of bounds at so many times its running median
LEAST = {"gradient_penalty": 5.0, "wasserstein": 30.0}  # and above this: a run that settles has small medians
STEEP = 0.1  # of its weight: a healthy discriminator of WGAN-GP pays less penalty (0.01 to 0.03 on anime faces)
VARIETY = 0.25  # below this share of the variety of real pictures, those drawn are nearly one

CALLED = {"gradient_penalty": "the gradient penalty", "wasserstein": "the distance between the scores"}
CAUSE = "the learning rate may be too high"
ADVICE = f"look at previews/: {CAUSE}; begin anew with --restart --set schedule.learning_rate=LOWER"


class Health:
    """What is wrong with a run by the lines of its log alone: a resumed run goes on as if it had not stopped."""

    gone_wrong: str | None = None
    """What the newest line shows that was well before; what a base brings along is only warned of."""

    def __init__(self, recipe: Recipe, records: Iterable[Mapping[str, Any]] = ()) -> None:
        # What a flat discriminator pays, since its gradient is 0; only one that is too steep pays more.
        self._flat = recipe.objective.gradient_penalty if recipe.objective.name == "wgan-gp" else None
        self._settled = recipe.base is not None  # a discriminator begins flat, but for that of a base
        self._usual: dict[str, deque[float]] = {key: deque(maxlen=LINES) for key in LEAST}
        self._last: dict[str, deque[float]] = {key: deque(maxlen=FEW) for key in LEAST}
        self._advice = CAUSE if recipe.returns else ADVICE
        self._varied = self._calm = False  # whether variety and penalty were once as they should be
        self._seen: deque[int] = deque(maxlen=MARGIN + 1)  # images, of the last lines
        self._ill: dict[str, int] = {}  # by fault, how many lines without it are still to come until it is over
        self._resolution: int | None = None
        self._real: dict[int, float] = {}  # by resolution, how much real pictures differ
        for record in records:
            self.add(record)

    @property
    def well_until(self) -> int:
        """Images up to which the run was well, as far as one can tell where something is wrong by its newest line."""
        return self._seen[0] if len(self._seen) > MARGIN else 0

    def add(self, record: Mapping[str, Any]) -> list[str]:
        """Take in the log's next line; a warning each of what goes wrong there and did not just before."""
        self._seen.append(record.get("images_seen", 0))
        if record.get("resolution") != self._resolution:  # scores and penalties start anew with a stage
            self._resolution = record.get("resolution")
            for values in (*self._usual.values(), *self._last.values()):
                values.clear()
        wrong = self._wrong(record)
        fresh = [fault for fault in wrong if fault not in self._ill and self._was_well(fault, record)]
        self.gone_wrong = wrong[fresh[0]] if fresh else None
        warnings = [
            f"{record.get('images_seen', 0) / 1000:g} kimg: {wrong[fault]}; {self._advice}"
            for fault in wrong
            if fault not in self._ill
        ]
        self._ill = {fault: left - 1 for fault, left in self._ill.items() if left > 1} | dict.fromkeys(wrong, WELL)
        return warnings

    def begin(self, variety: float | None) -> None:
        """Take in the variety at the run's start, before the first line of the log."""
        self._varied = variety is not None and variety >= VARIETY

    def _was_well(self, fault: str, record: Mapping[str, Any]) -> bool:
        """Whether the run was once without the fault, or it is too large to be the base's."""
        if fault == "variety":
            return self._varied
        absurd = self._flat is None or (value_of(record, "gradient_penalty") or 0.0) > TIMES * self._flat
        return fault != "gradient_penalty" or self._calm or absurd

    def _wrong(self, record: Mapping[str, Any]) -> dict[str, str]:
        """What is wrong by one line, by fault; a number out of bounds leaves the median as it was."""
        wrong = {}
        if outgrown := self._outgrown(record):
            wrong["gradient_penalty"] = outgrown
        for key, values in self._usual.items():
            value = abs(value_of(record, key) or 0.0)
            usual = [median(values)] if len(values) >= FEW else []
            if key == "gradient_penalty" and self._flat:
                usual.append(self._flat)
            if usual and value > max(LEAST[key], TIMES * min(usual)):
                wrong[key] = f"{CALLED[key]} is {value:.3g}, where {min(usual):.3g} is usual"
            elif value:  # R1 is not taken at every step
                values.append(value)
        variety = value_of(record, "variety")
        self._varied |= variety is not None and variety >= VARIETY
        if variety is not None and variety < VARIETY:
            wrong["variety"] = f"the pictures drawn are nearly one: they differ {variety:.0%} as much as real ones do"
        return wrong

    def _outgrown(self, record: Mapping[str, Any]) -> str | None:
        """WGAN-GP's penalty where it is larger than the distance that it is paid for, in most of the last lines."""
        if record.get("phase") == "fade":  # layers that are new unsettle it for a few kimg
            for values in self._last.values():
                values.clear()
            return None
        for key, values in self._last.items():
            values.append(value_of(record, key) or 0.0)
        penalty, distance = (values[-1] for values in self._last.values())
        self._calm |= self._flat is None or penalty <= STEEP * self._flat or penalty <= distance
        penalty, distance = (median(values) for values in self._last.values())
        if self._flat is None or penalty <= STEEP * self._flat or penalty <= distance:
            self._settled = True
        elif self._settled and len(self._last["wasserstein"]) == FEW:
            return f"the gradient penalty, {penalty:.3g}, has outgrown the distance between the scores, {distance:.3g}"
        return None

    @torch.no_grad()
    def variety(self, state: State, corpus: Corpus) -> float | None:
        """How much pictures drawn from a few fixed latents differ from one another, relative to real ones of `corpus`,
        the same at every call; None where those do not differ.
        """
        recipe, side = state.recipe, state.resolution
        latents = torch.randn(COMPARED, recipe.latent_dim, generator=stream("previews", recipe.seed))
        chunks = torch.split(latents, max(1, CHUNK_PIXELS // side**2))
        drawn = [state.generator(chunk.to(state.device), state.alpha).clamp(-1, 1).cpu() for chunk in chunks]
        if side not in self._real:  # once: a batch out of turn costs the corpus what it has read ahead
            real = corpus.batch(0, COMPARED, resolution=side, seed=recipe.seed, mirror=recipe.mirror)
            self._real[side] = spread(real)
        return round(spread(torch.cat(drawn)) / self._real[side], 4) if self._real[side] else None


def spread(pictures: Tensor) -> float:
    """Root mean square of the differences of pictures [n, 3, h, w] from their mean."""
    return pictures.float().var(dim=0, correction=0).mean().sqrt().item()
