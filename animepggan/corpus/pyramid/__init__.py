"""The pictures of a corpus on disk, decoded once: levels of pixels, each of half the last one's side, and an index.

    ANIMEPGGAN_CACHE/pyramids/NAME-64px-1f0c.../
      index.safetensors      what is where: names, stamps, digests, clusters, sums; replaced atomically
      level-0064.1.npy       uint8 [rows, 64, 64, 3], the top level: resized from the sources with LANCZOS
      level-0032.1.npy ...   down to 4 px: rounded means of 2x2 pixels of the level above
      level-0256.1.webp/     above 128 px, where the arrays would be over the budget: lossless WebP, many a file
      journal.jsonl          only while it is built: what is done, so that a build that was stopped goes on
      damaged                only where damage was met, or put there by hand: asks for all sums to be checked

- `levels`: pixels in files
- `index`: everything else in one file, mapped
- `journal`: what a build has done so far
- `draft`: the next index while it is made, of what can be kept and what is new
- `build`: decodes what is new or has changed, into rows behind those that are there
- `identity`: what a corpus is known by
- `clusters`: copies and near copies as one
- `disk`: how much room there is, and the words for when there is none
- `shelf`: finds a source's pyramid; one process builds while others wait

Rows are never written again once an index names them, so what reads a pyramid is not disturbed by what extends it.
Any folder in `pyramids/` may be deleted when nothing reads it: it is built anew when it is next asked for.
"""

from __future__ import annotations

from animepggan.corpus.pyramid.clusters import Clusters
from animepggan.corpus.pyramid.identity import identify
from animepggan.corpus.pyramid.index import Names
from animepggan.corpus.pyramid.levels import Pixels, halve
from animepggan.corpus.pyramid.shelf import Pyramid, no_pictures, open_pyramid, some

__all__ = ["Clusters", "Names", "Pixels", "Pyramid", "halve", "identify", "no_pictures", "open_pyramid", "some"]
