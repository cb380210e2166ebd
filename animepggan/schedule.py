"""The whole schedule of a run as a function of one integer, `images_seen`.

A run grows through stages, one a resolution (Karras et al. 2018, section 2): each stage but the first
fades its new layers in, then stabilises. Everything that changes over a run (resolution, phase, alpha,
batch size, learning rate) is read off `Schedule.at(images_seen)`; nothing here is counted or remembered.
"""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from animepggan.errors import RecipeError

PhaseName = Literal["fade", "stabilize"]
ByResolution = float | int | Mapping[int | str, float | int]
"""A number for every resolution, or a map `{4: 64, 8: 64, "default": 16}`."""


def at_resolution(value: ByResolution, resolution: int, key: str) -> float | int:
    """The number that `value` holds for `resolution`; `key` names it in the error when there is none."""
    if not isinstance(value, Mapping):
        return value
    if resolution in value:
        return value[resolution]
    if "default" in value:
        return value["default"]
    raise RecipeError(f"{key} has no value for resolution {resolution}: add `{resolution}: ...` or `default: ...`")


def resolutions(first: int, last: int) -> list[int]:
    """Powers of two from `first` to `last`, both included."""
    return [1 << power for power in range(first.bit_length() - 1, last.bit_length())]


@dataclass(frozen=True)
class Phase:
    """A stretch of a stage: images `start` (included) to `end` (excluded)."""

    resolution: int  # pixels a side
    name: PhaseName
    start: int  # images
    end: int  # images; end - start is a multiple of batch_size
    batch_size: int  # images
    learning_rate: float

    def alpha_at(self, images_seen: int) -> float:
        """The weight of the new resolution: 0 to 1 over a fade-in, 1 when stabilising."""
        if self.name == "stabilize":
            return 1.0
        return min(1.0, (images_seen - self.start) / (self.end - self.start))


@dataclass(frozen=True)
class Stage:
    """All training at one resolution."""

    resolution: int  # pixels a side
    phases: tuple[Phase, ...]

    @property
    def start(self) -> int:
        return self.phases[0].start

    @property
    def end(self) -> int:
        return self.phases[-1].end


@dataclass(frozen=True)
class Moment:
    """What holds for the step that shows the images from `images_seen` on."""

    images_seen: int
    phase: Phase
    alpha: float  # weight of the new resolution, 0 to 1
    learning_rate: float  # with the ramp, the decay and what the run was slowed by

    @property
    def resolution(self) -> int:
        return self.phase.resolution

    @property
    def batch_size(self) -> int:
        return self.phase.batch_size


class Schedule:
    """The stages of a run, in order, and what holds at each moment of it.

    A phase lasts whole batches: its length in images is rounded up to a multiple of its batch size, so that
    `images_seen` always stands on a step's boundary and no batch straddles two phases. Every stage has images, but for
    that of a base which is grown at once: it may be left out.
    """

    def __init__(
        self,
        *,
        first_resolution: int,  # 4, or the base's resolution when fine-tuning
        last_resolution: int,
        fade_kimg: ByResolution,  # thousands of images; the first stage has no fade-in
        stabilize_kimg: ByResolution,  # thousands of images
        batch_size: ByResolution,  # images
        learning_rate: ByResolution,
        ramp_kimg: float = 0.0,  # the learning rate rises linearly from 0 over the run's first ramp_kimg
        decay_kimg: float = 0.0,  # and falls linearly to 0 over its last decay_kimg
    ) -> None:
        stages: list[Stage] = []
        images = 0
        for resolution in resolutions(first_resolution, last_resolution):
            batch = int(at_resolution(batch_size, resolution, "schedule.batch_size"))
            rate = float(at_resolution(learning_rate, resolution, "schedule.learning_rate"))
            lengths: list[tuple[PhaseName, float]] = []
            if resolution > first_resolution:
                lengths.append(("fade", at_resolution(fade_kimg, resolution, "schedule.fade_kimg")))
            lengths.append(("stabilize", at_resolution(stabilize_kimg, resolution, "schedule.stabilize_kimg")))
            phases: list[Phase] = []
            for name, kimg in lengths:
                end = images + math.ceil(round(kimg * 1000, 6) / batch) * batch
                if end > images:
                    phases.append(Phase(resolution, name, images, end, batch, rate))
                images = end
            if not phases and 4 < resolution == first_resolution < last_resolution:
                continue  # the base has been trained there
            if not phases:
                raise RecipeError(
                    f"the stage at resolution {resolution} has no images: "
                    "set schedule.stabilize_kimg or schedule.fade_kimg above 0 for it"
                )
            stages.append(Stage(resolution, tuple(phases)))
        self.stages = tuple(stages)
        self.phases = tuple(phase for stage in stages for phase in stage.phases)
        self.ramp_images, self.decay_images = ramp_kimg * 1000, decay_kimg * 1000
        self.factor = 1.0  # of every learning rate; see `slowed`
        self._starts = [phase.start for phase in self.phases]

    @property
    def total_images(self) -> int:
        return self.phases[-1].end

    def slowed(self, factor: float) -> Schedule:
        """The same schedule at `factor` times its learning rates."""
        slowed = copy.copy(self)
        slowed.factor = self.factor * factor
        return slowed

    def at(self, images_seen: int) -> Moment:
        """What holds at `images_seen`; at the end of the run, what held for its last step, at alpha 1."""
        phase = self.phases[max(0, bisect.bisect_right(self._starts, images_seen) - 1)]
        ramp = min(1.0, (images_seen + phase.batch_size) / self.ramp_images) if self.ramp_images else 1.0
        if self.decay_images:  # never quite 0: the last step has a rate, too
            ramp *= min(1.0, (self.total_images - images_seen) / self.decay_images)
        return Moment(images_seen, phase, phase.alpha_at(images_seen), phase.learning_rate * ramp * self.factor)

    def stage_ending(self, before: int, now: int) -> Stage | None:
        """The stage that a step from `before` to `now` images ends, if any.

        Its end is `now` itself, unless the batch size was changed in the middle of the run.
        """
        return next((stage for stage in self.stages if before < stage.end <= now), None)
