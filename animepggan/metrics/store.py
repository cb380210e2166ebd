"""Room for more pictures than memory may hold."""

from __future__ import annotations

import os
import tempfile

import numpy as np
from numpy.typing import NDArray

IN_MEMORY = 1 << 30  # bytes


def room(count: int, resolution: int) -> NDArray[np.uint8]:
    """Room for pictures: uint8 [count, resolution, resolution, 3], in memory up to a gigabyte, else mapped from a file
    that is gone with it. Raises OSError where the disk is too small.
    """
    shape = (count, resolution, resolution, 3)
    size = count * resolution * resolution * 3
    if size <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile(prefix="animepggan-") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error now, not a crash later
        else:
            file.truncate(size)
        return np.memmap(file, np.uint8, "r+", shape=shape)
