"""Pictures in, as they go: from what `--data` names to the batches of a training step.

    spec           what a SPEC names, as a source of entries
      folders, archives, parquet, description     where entries come from
      source       entries, none of them opened yet
    sweep          opens each of them, on several threads
    decode         one file to RGB pixels
    pyramid/       keeps the pixels of all, at several sides
    loader         deals batches from them: `Corpus`

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
