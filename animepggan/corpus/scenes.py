"""Which frames of a video become stills: where a scene begins and every so often after, none twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, tee
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from animepggan.corpus.video import THUMBNAIL, thumbnail

if TYPE_CHECKING:
    from av import VideoFrame

    Shot = tuple[VideoFrame | None, VideoFrame, VideoFrame | None]  # a frame between its neighbors

CUT = 12.0  # mean difference of two frames' thumbnails, 0 to 255, from which on a scene may have changed,
CUT_OVER_MOTION = 3.0  # if it is also so many times what the frames before it differed by
MOTION_FRAMES = 12  # so many of them, half a second
SLOW = 0.1  # seconds between two frames from which on nothing blends them
UNREST = 0.5  # seconds after which a scene that never comes to rest is taken as it is

REPEAT = 1.5  # a still repeats another when their thumbnails differ by less than this in the mean
REPEAT_PIXEL, REPEAT_SHARE = 16, 0.01  # and less than this share of their pixels by more than this
MEMORY = 4096  # stills of a video that later ones are compared with
BLANK = 4.0  # deviation of the thumbnail's brightest channel below which there is nothing to see


@dataclass
class Taken:
    """What came of a video."""

    video: str  # as given
    name: str  # what its stills are called before the time
    scenes: int = 0  # stills where a scene begins
    between: int = 0  # stills between
    repeats: int = 0  # left out: like an earlier still
    blank: int = 0  # left out: a single color
    damaged: int = 0  # packets that could not be decoded
    seconds: float = 0.0  # read, up to the last frame
    problem: str | None = None  # why not all of it was read
    note: str | None = None  # what is not sure of its pictures
    before: bool = False  # done by an earlier start

    @property
    def stills(self) -> int:
        """How many there are of it."""
        return self.scenes + self.between


def pick_stills(
    frames: Iterator[tuple[float, VideoFrame]], every: float, taken: Taken
) -> Iterator[tuple[float, Shot | None]]:
    """The time in seconds of every frame, with the frame where a still is made of it; `taken` counts."""
    seen = _Seen()
    motion: deque[float] = deque(maxlen=MOTION_FRAMES)
    small: NDArray[np.uint8] | None = None
    begun: float | None = None  # when the scene began, of which nothing is taken yet
    looked = 0.0  # when a frame was last looked at
    behind, current, ahead = tee(frames, 3)
    next(ahead, None)
    for before, (time, frame), after in zip(chain([None], behind), current, chain(ahead, [None]), strict=False):
        small_before, small = small, thumbnail(frame)
        if before is None or small_before is None:
            cut, lone = True, after is None or after[0] - time >= SLOW
        else:
            moved = float(np.abs(small.astype(np.int16) - small_before).mean())
            cut, lone = moved > max(CUT, CUT_OVER_MOTION * sum(motion) / MOTION_FRAMES), time - before[0] >= SLOW
            motion.append(moved)
        if cut and begun is None:
            begun = time
        # The first frame of a scene may hold a field of the scene before, or be a flash: its second is taken.
        opens = begun is not None and (not cut or lone or time - begun >= UNREST)
        shot = None
        if opens or (begun is None and every and time - looked >= every):
            looked = time
            if small.std(axis=(0, 1)).max() < BLANK:
                taken.blank += 1
            elif not seen.add(small):
                taken.repeats += 1
            else:
                taken.scenes += opens
                taken.between += not opens
                shot = (before and before[1], frame, after and after[1])
        if opens:
            begun = None
        yield time, shot


class _Seen:
    """The stills of a video so far, as thumbnails."""

    def __init__(self) -> None:
        height, width = THUMBNAIL
        self._thumbnails = np.empty((MEMORY, height, width, 3), np.uint8)
        self._coarse = np.empty((MEMORY, height // 4 * (width // 4) * 3), np.float32)
        self._count = 0

    def add(self, small: NDArray[np.uint8]) -> bool:
        """Remember a still, and forget the oldest where there are too many; False where one like it is there."""
        height, width = THUMBNAIL
        count = min(self._count, MEMORY)
        # Means over 4x4 pixels differ by no more than the pixels do, so that most need no closer look.
        means = small.reshape(height // 4, 4, width // 4, 4, 3).mean(axis=(1, 3), dtype=np.float32).ravel()
        for index in np.flatnonzero(np.abs(self._coarse[:count] - means).mean(axis=1) < REPEAT):
            difference = np.abs(self._thumbnails[index].astype(np.int16) - small)
            if difference.mean() < REPEAT and (difference.max(axis=2) > REPEAT_PIXEL).mean() < REPEAT_SHARE:
                return False
        at = self._count % MEMORY
        self._thumbnails[at], self._coarse[at] = small, means
        self._count += 1
        return True
