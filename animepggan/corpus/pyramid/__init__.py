"""The pictures of a corpus on disk, decoded once: pixels at several sides, each half of the last one, and an index.

    ANIMEPGGAN_CACHE/pyramids/NAME-64px-1f0c.../
      shard-58d1....pixels    some thousand pictures: 64x64 px resized from the sources with LANCZOS, then rounded means
                              of 2x2 pixels down to 4 px; above 128 px, where arrays would be over the budget, as WebP
      index.record            written last: names, clusters, fingerprint, and which shards they are of

`shard` is of pixels and the records behind them, `build` makes shards and the index, `cache` finds a source's pyramid
(one process builds while others wait), `clusters` counts copies and near copies as one.

No file is ever changed, only replaced or deleted, so what reads a pyramid is not disturbed by what brings it up to
date. Any folder in `pyramids/` may be deleted when nothing reads it: it is built anew when it is next asked for.
"""

from __future__ import annotations

from animepggan.corpus.pyramid.cache import Pyramid, open_pyramid
from animepggan.corpus.pyramid.clusters import ClusterTable, digest_of, identify
from animepggan.corpus.pyramid.shard import Pixels, Shape, halve

__all__ = ["ClusterTable", "Pixels", "Pyramid", "Shape", "digest_of", "halve", "identify", "open_pyramid"]
