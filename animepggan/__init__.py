"""Draw your favourite character with a progressively grown GAN: the library, whose caller is the command line.

    import animepggan

    model = animepggan.load("runs/yui")                  # or hub:owner/name, or nothing: your newest, else `base`
    faces = model.sample(range(16), truncation=0.8)      # uint8 [16, h, w, 3]
    run = animepggan.finetune(data="yui/")               # of the base in the package, or base="runs/mine"

Each verb of the command line is a function with the same words and defaults. What a user can cause raises an
`AnimepgganError` (animepggan.errors has the family) and nothing prints; what takes long takes a `bar`, called as
bar(what is being done, done, total). A name is imported when it is first used, so that this import is quick.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

from animepggan.errors import AnimepgganError

if TYPE_CHECKING:
    from animepggan.corpus.faces.crop import crop
    from animepggan.corpus.frames import frames
    from animepggan.data import check, curate, review
    from animepggan.evaluation import evaluate
    from animepggan.model import Model, load
    from animepggan.pipeline import start
    from animepggan.run import finetune, pretrain

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # else Python prints warnings that nobody listens to

__all__ = [
    "AnimepgganError",
    "Model",
    "check",
    "crop",
    "curate",
    "evaluate",
    "finetune",
    "frames",
    "load",
    "pretrain",
    "review",
    "start",
]

_MODULES = {
    "check": "data",
    "crop": "corpus.faces.crop",
    "curate": "data",
    "evaluate": "evaluation",
    "finetune": "run",
    "frames": "corpus.frames",
    "load": "model",
    "Model": "model",
    "pretrain": "run",
    "review": "data",
    "start": "pipeline",
}

if not TYPE_CHECKING:  # a type checker reads the imports above, and so finds a name that is not there

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)

    def __dir__():
        return sorted({*globals(), *__all__})
