"""Pictures in: find them (`spec`), decode them (`decode`), keep them and deal batches (`loader`).

`Corpus` is looked up on first use, so that drawing the demo corpora needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from animepggan.corpus.loader import Corpus

__all__ = ["Corpus"]


def __getattr__(name: str) -> object:
    if name == "Corpus":
        from animepggan.corpus.loader import Corpus

        return Corpus
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
