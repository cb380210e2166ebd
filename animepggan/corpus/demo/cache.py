"""The default demo corpora in the cache, so that `demo:general` and `demo:yui` are drawn once."""

from __future__ import annotations

import shutil
from pathlib import Path

from animepggan.bar import Bar, silent
from animepggan.corpus.demo.drawing import COUNTS, EDITION, SIZE, draw, finished
from animepggan.corpus.demo.sets import Kind
from animepggan.disk import cache_folder, locked


def cached(kind: Kind, *, bar: Bar = silent) -> Path:
    """The folder of the default corpus of `kind`: 128 pixels a side, seed 0. Drawn on first use.

    Of several processes that ask at once, one draws and the others wait. Raises what `draw` raises.
    """
    folder = cache_folder() / "demo" / f"{kind}-{COUNTS[kind]}x{SIZE}-seed0-edition{EDITION}"
    if finished(folder) is not None:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock")):
        if finished(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)  # ours, and no longer whole
            draw(kind, folder, bar=bar)
    return folder
