"""Whether a model repeats its training pictures, or mixes two of them ("just two pictures interpolated").

A picture counts as a copy when it is nearer to a training picture than new pictures of the same kind are: nearer than
all but one in a hundred of them. New pictures are those held out; where there are none, each of some training pictures
plays one, compared with all but its own cluster. A blend is the same for the best mixture of two training pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from animepggan.metrics.nearest import Matches, NearestIndex
from animepggan.metrics.pictures import RealPictures

EXPECTED = 0.01
"""Share of new pictures below a threshold, by its construction."""
COPIED = 0.25
"""Distance below which a picture is a copy, however near to training pictures new ones come."""
CALIBRATION = 1000  # new pictures that are compared, at most


@dataclass(frozen=True)
class Memorization:
    """What was found for n pictures."""

    matches: Matches
    copied: NDArray[np.bool_]  # [n]
    blended: NDArray[np.bool_]  # [n]; copies are among them: a blend with nothing of B


@dataclass(frozen=True)
class TrainingPictures:
    """What a model was trained on, and how near new pictures come to that."""

    index: NearestIndex
    pictures: RealPictures  # that they are of
    indices: NDArray[np.int64]  # [n]: where in it
    new: Matches  # of pictures that are none of them
    left_out: bool  # those were left out of training; else each is one of the training pictures, less its cluster

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Which of the new pictures are fit to compare with: none that is a near copy after all."""
        return self.new.distances[:, 0] >= COPIED

    @property
    def count(self) -> int:
        """How many new pictures the thresholds rest on."""
        return int(self.known.sum())

    @cached_property
    def copy_threshold(self) -> float:
        """The distance to the nearest picture below which a picture is a copy."""
        return self._threshold(self.new.distances[:, 0])

    @cached_property
    def blend_threshold(self) -> float:
        """The distance to the best blend below which a picture is a blend."""
        return self._threshold(self.new.blended)

    @property
    def distance(self) -> float:
        """The median distance of new pictures to the nearest training picture, 0 to 1."""
        return float(np.median(self.new.distances[self.known, 0])) if self.count else 1.0

    def _threshold(self, distances: NDArray[np.float64]) -> float:
        return float(np.quantile(distances[self.known], EXPECTED, method="lower")) if self.count else COPIED

    def judge(self, thumbs: NDArray[np.uint8]) -> Memorization:
        """Compare pictures, as `memorization_thumbnails` makes them, with the training pictures."""
        matches = self.index.find(thumbs)
        copied = matches.distances[:, 0] < self.copy_threshold
        return Memorization(matches, copied, copied | (matches.blended < self.blend_threshold))
