"""Curation: which pictures of a corpus are copies, near copies and strangers. Nothing is deleted.

`look` opens each picture once, `compare` tells near copies, `clusters` joins them, `strangers` ranks who does not
belong; `job` runs them over a source and says what it found, as rows of a corpus description.
"""

from animepggan.corpus.curation.job import Curation, curate, examples

__all__ = ["Curation", "curate", "examples"]
