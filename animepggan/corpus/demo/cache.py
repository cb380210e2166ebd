"""The default demo corpora in the cache, so that `demo:general` and `demo:yui` are drawn once."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from animepggan.corpus.demo.drawing import COUNTS, EDITION, SIZE, draw, finished
from animepggan.corpus.demo.plan import Kind


def cached(kind: Kind, *, progress: Callable[[int], object] | None = None) -> Path:
    """The folder of the default corpus of `kind`: 128 pixels a side, seed 0. Drawn on first use.

    Of several processes that ask at once, one draws and the others wait. `progress` is called as by `draw`.
    Raises what `draw` raises.
    """
    folder = cache_folder() / "demo" / f"{kind}-{COUNTS[kind]}x{SIZE}-seed0-edition{EDITION}"
    if finished(folder) is not None:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if finished(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)  # ours, and no longer whole
            draw(kind, folder, progress=progress)
    return folder


def cache_folder() -> Path:
    """`ANIMEPGGAN_CACHE`, else `animepggan` in the platform's folder for caches."""
    if chosen := os.environ.get("ANIMEPGGAN_CACHE"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "animepggan"
