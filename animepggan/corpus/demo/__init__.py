"""The demo corpora: faces that artists made the parts of, drawn offline (extra `demo`).

- `dice`: random choices by name
- `styles`: the artists' styles, and how a face is drawn in one
- `characters`: who is drawn
- `nearness`: when two pictures of her are near copies
- `plan`: what each picture will be; the truth
- `drawing`: pictures, manifest and credits into a folder
- `cache`: the default corpora, drawn once
- `credits`: whose drawings these are
"""

from __future__ import annotations

from animepggan.corpus.demo.cache import cached
from animepggan.corpus.demo.credits import credits
from animepggan.corpus.demo.drawing import Summary, draw
from animepggan.corpus.demo.plan import Kind

__all__ = ["Kind", "Summary", "cached", "credits", "draw"]
