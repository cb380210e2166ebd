"""Anime faces of our own: any number of characters, poses, expressions and scenes, drawn offline and fixed by a seed.

- `dice`: random choices by name; `colors`, `strokes`: OKLCH, curves and pen strokes as SVG; none knows of faces
- `styles`: the hands that draw; `characters`: who is drawn; `moods`: expressions and shots
- `sketch`, `face`, `hair`, `clothes`: one figure as SVG
- `scenes`, `picture`: figures before a scene, rasterized and finished: `compose` draws any number of faces anywhere
- `sets`, `drawing`: the corpora, the truth beside them, and their folders
"""

from __future__ import annotations

from animepggan.corpus.demo.drawing import COUNTS, Summary, cached, draw_demo
from animepggan.corpus.demo.sets import Kind

__all__ = ["COUNTS", "Kind", "Summary", "cached", "draw_demo"]
